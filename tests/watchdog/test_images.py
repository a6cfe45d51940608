"""Images on a real engine's disk, and a real registry under a fleet's questions."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from autopilot_watchdog.core.observation import TagDigest
from autopilot_watchdog.engine.engine_http import EngineClient
from autopilot_watchdog.engine.engine_registry import create_engine
from autopilot_watchdog.registry import registry_client
from autopilot_watchdog.registry.image_reference import get_repository
from autopilot_watchdog.simulation.simulated_fleet import SimulatedFleet
from autopilot_watchdog.simulation.simulated_registry import SimulatedRegistry

from lab.tiny_images import build_and_push, format_healthy_script
from tests.watchdog.scenes import BEGIN, KEY, build_config, build_host
from tests.watchdog.site import Site, eventually
from tests.watchdog.test_engines import get_slot, is_slot_empty, kill_container

pytestmark = pytest.mark.real("docker", "podman", "registry")

HOUR = 3600.0
RINGS = {"rings": [{"share": "10%", "after": "0s"}, {"share": "100%", "after": "30m"}], "spread": "10m"}


def replace_container(site: Site, slot: str) -> None:
    """End the slot's life and let its successor prove good."""
    gone = get_slot(site, slot)["container"]
    kill_container(site, gone)
    eventually(lambda: is_slot_empty(site, slot), 10, "the engine has seen it")
    site.run_once()
    site.run_once()
    assert get_slot(site, slot)["container"] not in (None, gone)


def test_garbage(site: Site) -> None:
    """Running, last good and second last good images are kept; our older ones go; images of others are not touched."""
    engine = create_engine(site.engine, site.service.socket, "nobody")
    client = EngineClient(site.engine, site.service.socket)
    own = get_repository(site.reference)
    others = own + "-of-somebody-else"
    foreign = build_and_push(
        site.builder,
        f"{get_repository(site.push_reference)}-of-somebody-else:v1",
        format_healthy_script("# not ours\nsleep 1"),
    )
    by_hand = build_and_push(
        site.builder, f"{get_repository(site.push_reference)}:debug", format_healthy_script("# by hand\nsleep 1")
    )
    for name, digest in ((others, foreign), (own, by_hand)):  # as an administrator's `docker pull`
        query = {"fromImage": name, "tag": digest}
        with client.open_response("POST", "/images/create", query) as answer:
            list(client.read_json_lines(answer))
        assert engine.has_image(name, digest)
    site.write_config({"count": 2})
    versions = [site.push_image(format_healthy_script("# 0\nsleep 100000"))]
    site.run_once()
    site.run_once()
    for number in range(1, 5):
        versions.append(site.push_image(format_healthy_script(f"# {number}\nsleep 100000")))
        site.run_once()
        replace_container(site, "wn-02")
    site.run_once()
    kept = [engine.has_image(own, digest) for digest in versions]
    assert kept == [True, False, False, True, True], "0 runs in wn-01, 4 is the last good one, 3 the one before"
    assert engine.has_image(others, foreign) and engine.has_image(own, by_hand)
    assert get_slot(site, "wn-01")["digest"] == versions[0]
    assert [entry["digest"] for entry in site.read_audit("remove-image")] == versions[1:3]


class RealRegistry(SimulatedRegistry):
    """Registry in virtual time with the answers of a real one, asked by the real client."""

    def __init__(self, site: Site) -> None:
        super().__init__([])
        self.known: Counter[str] = Counter()
        self._site = site

    def request_tag_digest(self, now: float, reference: str = "") -> TagDigest:
        """Count a request and send it to the real registry."""
        self.request_counts[int(now // 60)] += 1
        client = registry_client.RegistryClient(self._site.reference, None, (), 5)
        # a host's first look at a digest reads its labels, too
        found = client.fetch_tag_digest(
            ("linux", "amd64"), {}, [digest for digest, hosts in self.known.items() if hosts >= 200]
        )
        self.known[found.digest] += 1
        return found


def test_200_hosts_and_one_registry(docker_site: Site) -> None:
    """Two hours of 200 hosts, with a push between: every HEAD is a real one, and there is no herd."""
    site = docker_site
    path = site.folder.name.lower()
    site.push_image()
    registry = RealRegistry(site)
    rules = {"rollout": RINGS}
    fleet = SimulatedFleet(
        (build_host(registry, build_config(f"h{n}", 1, **rules)) for n in range(200)), BEGIN, every_pass=True
    )
    fleet.run_until(BEGIN + HOUR)
    new = site.push_image(format_healthy_script("# new\nsleep 100000"))
    fleet.run_until(BEGIN + 2 * HOUR)
    assert {one.memory.get_image(KEY).newest for one in fleet.hosts} == {new}
    minutes = [registry.request_counts[minute] for minute in range(int(BEGIN // 60) + 6, int(BEGIN // 60) + 120)]
    pulls = [registry.pull_counts[minute] for minute in range(int(BEGIN // 60) + 60, int(BEGIN // 60) + 120)]
    heads, gets = site.registry.count_requests("HEAD", path), site.registry.count_requests("GET", path)
    print(
        f"200 hosts: {sum(minutes) / len(minutes):.1f} HEADs a minute, at most {max(minutes)}; "
        f"at most {max(pulls)} pulls a minute; {heads} HEADs and {gets} GETs in two hours"
    )
    assert heads >= sum(registry.request_counts.values())
    assert 38 <= sum(minutes) / len(minutes) <= 42 and max(minutes) <= 60
    assert sum(pulls) == 200 and max(pulls) <= 40
    assert fleet.compute_lost_slot_seconds() == 0


def test_a_herd_would_be_survived(docker_site: Site) -> None:
    """If 200 hosts ask at the same moment after all, a real registry answers every one of them in seconds."""
    site = docker_site
    digest = site.push_image()

    def ask(number: int) -> str:
        return (
            registry_client.RegistryClient(site.reference, None, (), 30)
            .fetch_tag_digest(("linux", "amd64"), {}, [digest])
            .digest
        )

    with ThreadPoolExecutor(200) as pool:
        assert set(pool.map(ask, range(200))) == {digest}
