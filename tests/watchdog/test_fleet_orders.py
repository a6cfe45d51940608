"""Orders for the fleet: given on one host, followed by the others, through a real Consul, engine and registry."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.consul_agents import Agent, start_agent
from lab.dockerd import DockerDaemon
from lab.registry_server import Registry
from lab.tiny_images import build_and_push, format_healthy_script
from tests.watchdog.site import Site, eventually

pytestmark = pytest.mark.real("docker", "registry", "consul")


class Fleet:
    """Hosts with one engine, one registry and one Consul, each with a state folder and slot names of its own."""

    def __init__(self, folder: Path, docker: DockerDaemon, registry: Registry, consul: Agent) -> None:
        self._folder, self._docker, self._registry, self._consul = folder, docker, registry, consul

    def add_host(self, name: str) -> Site:
        """Add a host that knows nothing yet."""
        folder = self._folder / name
        folder.mkdir()
        site = Site(folder, "docker", self._docker, self._registry, self._docker.engine)
        image = f"{self._registry.address}/site/{self._folder.name.lower()}:stable"
        consul = {"address": f"http://{self._consul.http_address}"}
        no_wait = {"initial": "0s"}  # after the second short life of a slot
        site.write_config({"name": "{host}-{number}", "image": image}, host=name, consul=consul, failures=no_wait)
        return site


@pytest.fixture
def fleet(tmp_path: Path, docker: DockerDaemon, the_registry: Registry) -> Iterator[Fleet]:
    """Set up a fleet without hosts; remove its containers at the end."""
    with start_agent() as consul:
        yield Fleet(tmp_path, docker, the_registry, consul)
    if names := docker.engine.run("ps", "--all", "--quiet").split():
        docker.engine.run("rm", "--force", "--volumes", *names)


def push(site: Site, text: str, tag: str = "stable") -> str:
    """Push an image under a tag of the fleet's repository and return its digest."""
    reference = site.reference.replace(":stable", f":{tag}")
    return build_and_push(site.builder, reference, format_healthy_script(f"# {text}\nsleep 100000"))


def give_order(site: Site, *words: str, status: int = 0) -> str:
    """Give an order that must end with this status; return what the verb printed."""
    done = site.run_verb(*words)
    assert done.returncode == status, f"{words}: exit {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout + done.stderr


def renew(site: Site, number: int = 1) -> str:
    """End the life in a slot of the host, if there is one, and return the digest of the next life after one pass."""
    slot = f"{site.document['host']}-{number:02}"
    words = site.state_folder / "slots" / slot / "last-words.json"
    before = words.read_text() if words.exists() else ""
    if before:
        container = site.read_state()["slots"][slot]["container"]
        site.builder.run("kill", container)
        site.builder.run("wait", container)
    site.run_once()
    eventually(lambda: words.exists() and words.read_text() != before, 30, "the life has proved good")
    return str(site.read_state()["slots"][slot]["digest"])


def test_orders_reach_every_host(fleet: Fleet) -> None:
    """A rollback and a quarantine for the fleet count on hosts that were told nothing, until any host releases them."""
    one, two = fleet.add_host("h1"), fleet.add_host("h2")
    good = push(one, "good")
    assert [renew(site) for site in (one, two)] == [good, good]
    bad = push(one, "bad")
    assert [renew(site) for site in (one, two)] == [bad, bad]

    text = give_order(one, "rollback", "--fleet", "--reason", "it loses payloads")
    assert f"now a life takes {good}" in text and "the other hosts learn of it in their next pass" in text
    assert "is quarantined already" in give_order(one, "rollback", "--fleet", status=64)
    assert [renew(site) for site in (one, two)] == [good, good]
    assert "on h1: it loses payloads" in give_order(two, "explain", "h2-01")
    fresh = fleet.add_host("h3")
    assert renew(fresh) == good, "a fresh host takes the fleet's last good digest, not the registry's newest"

    assert f"now a life takes {bad}" in give_order(two, "release", bad)
    assert [renew(site) for site in (two, fresh)] == [bad, bad]
    give_order(fresh, "quarantine", bad)
    assert "is the whole fleet's now" in give_order(fresh, "quarantine", bad, "--fleet", "--reason", "still bad")
    assert renew(two) == good

    before = one.read_state()["images"]
    one.write_config(consul={"address": "http://127.0.0.1:1"})
    assert "for the fleet, so not here either" in give_order(one, "quarantine", good, "--fleet", "--force", status=75)
    assert one.read_state()["images"] == before


def test_promoted_canary_reaches_every_host(fleet: Fleet) -> None:
    """A canary runs in one slot of a host; `promote` moves the fleet to it, and `rollback --fleet` moves it back."""
    one, two = fleet.add_host("h1"), fleet.add_host("h2")
    for site in (one, two):
        site.write_config({"count": 2, "canary": {"image": ":canary", "slots": 1}})
    stable = push(one, "stable")
    canary = push(one, "canary", tag="canary")
    assert (renew(one), one.read_state()["slots"]["h1-02"]["digest"]) == (canary, stable)
    assert "the first slot of every host" in give_order(one, "explain", "h1-01")
    assert "h1-01: " in give_order(one, "check") and ":canary on docker, the canary" in give_order(one, "check")
    slots = one.get_slots()
    assert [slots[name]["channel"] for name in ("h1-01", "h1-02")] == ["canary", "stable"]
    container = one.read_state()["slots"]["h1-01"]["container"]
    env = one.builder.run("inspect", "--format", "{{json .Config.Env}}", container)
    assert {"AUTOPILOT_CHANNEL=canary", "AUTOPILOT_IMAGE_REASON=the newest of the canary"} <= set(json.loads(env))

    one.run_once()  # the good lives are counted
    text = give_order(one, "promote", "--reason", "it runs well")
    assert f"now a life takes {canary}" in text and "the other hosts learn of it in their next pass" in text
    assert "is promoted already, for the fleet" in give_order(one, "promote", status=64)
    assert renew(one, 2) == canary
    assert renew(two, 2) == canary, "a host that ran nothing of it follows the fleet"
    assert "on h1, it runs well" in give_order(two, "explain", "h2-02")

    assert f"now a life takes {stable}" in give_order(two, "rollback", "--fleet", "--reason", "it leaks")
    assert [renew(one, 1), renew(one, 2), renew(two, 2)] == [stable] * 3
