"""Orders for the fleet: given on one host, followed by the others, through a real Consul, engine and registry."""

from __future__ import annotations

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


def push(site: Site, text: str) -> str:
    """Push an image under the fleet's tag and return its digest."""
    return build_and_push(site.builder, site.reference, format_healthy_script(f"# {text}\nsleep 100000"))


def give_order(site: Site, *words: str, status: int = 0) -> str:
    """Give an order that must end with this status; return what the verb printed."""
    done = site.run_verb(*words)
    assert done.returncode == status, f"{words}: exit {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout + done.stderr


def renew(site: Site) -> str:
    """End the life in the host's slot, if there is one, and return the digest of the next life after one pass."""
    slot = f"{site.document['host']}-01"
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
