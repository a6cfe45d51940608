"""Images on a real engine's disk, and a real registry under a fleet's questions."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from autopilot_watchdog.core.observation import Head
from autopilot_watchdog.engine.client import Client
from autopilot_watchdog.engine.engine import Engine
from autopilot_watchdog.registry import client
from autopilot_watchdog.registry.reference import repository
from autopilot_watchdog.simulation import world

from lab.tiny import good_life, push
from tests.watchdog.scenes import BEGIN, KEY, config, host
from tests.watchdog.site import Site, eventually
from tests.watchdog.test_engines import container, kill

pytestmark = pytest.mark.real("docker", "podman", "registry")

HOUR = 3600.0
RINGS = {"rings": [{"share": "10%", "after": "0s"}, {"share": "100%", "after": "30m"}], "spread": "10m"}


def renewed(site: Site, slot: str) -> None:
    """The slot's life is over, and its successor has proved good."""
    gone = container(site, slot)["container"]
    kill(site, gone)
    eventually(lambda: not container(site, slot)["container"], 10, "the engine has seen it")
    site.run()
    site.run()
    assert container(site, slot)["container"] not in (None, gone)


def test_garbage(site: Site) -> None:
    """What runs, the last good one and the one before are kept; older ones of ours go; nobody else's are touched."""
    engine = Engine(Client(site.engine, site.service.socket), "nobody")
    own = repository(site.reference)
    others = own + "-of-somebody-else"
    foreign = push(site.builder, f"{repository(site.pushed)}-of-somebody-else:v1", good_life("# not ours\nsleep 1"))
    by_hand = push(site.builder, f"{repository(site.pushed)}:debug", good_life("# by hand\nsleep 1"))
    for name, digest in ((others, foreign), (own, by_hand)):  # as an administrator's `docker pull`
        query = {"fromImage": name, "tag": digest}
        with engine.client.call("POST", "/images/create", query) as answer:
            list(engine.client.lines(answer))
        assert engine.has(name, digest)
    site.write({"count": 2})
    versions = [site.push(good_life("# 0\nsleep 100000"))]
    site.run()
    site.run()
    for number in range(1, 5):
        versions.append(site.push(good_life(f"# {number}\nsleep 100000")))
        site.run()
        renewed(site, "wn-02")
    site.run()
    kept = [engine.has(own, digest) for digest in versions]
    assert kept == [True, False, False, True, True], "0 runs in wn-01, 4 is the last good one, 3 the one before"
    assert engine.has(others, foreign) and engine.has(own, by_hand)
    assert container(site, "wn-01")["digest"] == versions[0]
    assert [entry["digest"] for entry in site.audit("removeimage")] == versions[1:3]


class RealRegistry(world.Registry):
    """Answers of the real one, asked by the real client, counted by virtual minutes."""

    def __init__(self, site: Site) -> None:
        super().__init__([])
        self.known: Counter[str] = Counter()
        self._site = site

    def head(self, now: float) -> Head:
        self.heads[int(now // 60)] += 1
        asked = client.Registry(self._site.reference, None, (), 5)
        # a host's first look at a digest reads its labels, too
        found = asked.head(("linux", "amd64"), {}, [digest for digest, hosts in self.known.items() if hosts >= 200])
        self.known[found.digest] += 1
        return found


def test_200_hosts_and_one_registry(docker_site: Site) -> None:
    """Two hours of 200 hosts, with a push between: every HEAD is a real one, and there is no herd."""
    site = docker_site
    path = site.folder.name.lower()
    site.push()
    registry = RealRegistry(site)
    rules = {"rollout": RINGS}
    it = world.Fleet((host(registry, config(f"h{n}", 1, **rules)) for n in range(200)), BEGIN, every_pass=True)
    it.run_until(BEGIN + HOUR)
    new = site.push(good_life("# new\nsleep 100000"))
    it.run_until(BEGIN + 2 * HOUR)
    assert {one.memory.image(KEY).head for one in it.hosts} == {new}
    minutes = [registry.heads[minute] for minute in range(int(BEGIN // 60) + 6, int(BEGIN // 60) + 120)]
    pulls = [registry.pulls[minute] for minute in range(int(BEGIN // 60) + 60, int(BEGIN // 60) + 120)]
    heads, gets = site.registry.requests("HEAD", path), site.registry.requests("GET", path)
    print(
        f"200 hosts: {sum(minutes) / len(minutes):.1f} HEADs a minute, at most {max(minutes)}; "
        f"at most {max(pulls)} pulls a minute; {heads} HEADs and {gets} GETs in two hours"
    )
    assert heads >= sum(registry.heads.values())
    assert 38 <= sum(minutes) / len(minutes) <= 42 and max(minutes) <= 60
    assert sum(pulls) == 200 and max(pulls) <= 40
    assert it.lost() == 0


def test_a_herd_would_be_survived(docker_site: Site) -> None:
    """Should 200 hosts ask at the same moment after all, a real registry answers every one of them in seconds."""
    site = docker_site
    digest = site.push()

    def ask(number: int) -> str:
        return client.Registry(site.reference, None, (), 30).head(("linux", "amd64"), {}, [digest]).digest

    with ThreadPoolExecutor(200) as pool:
        assert set(pool.map(ask, range(200))) == {digest}
