"""Limits between hosts: a real semaphore, held by real supervisors."""

from __future__ import annotations

import os
import signal
from contextlib import ExitStack

import pytest

from autopilot.adapters.consul.client import Refused
from autopilot.adapters.consul.semaphore import admitted, holders_in
from lab import consul
from tests.adapters.consul.conftest import service, status
from tests.app.harness import VICTIM, Pilot, eventually, shell

real = pytest.mark.real("consul")


@pytest.mark.parametrize(
    ("holders", "alive", "after"),
    [
        ([], ["me"], ["me"]),
        (["a"], ["a", "me"], ["a", "me"]),
        (["a", "b"], ["a", "b", "me"], None),
        (["a", "b"], ["b", "me"], ["b", "me"]),
        (["a", "me"], ["a", "me"], ["a", "me"]),
    ],
)
def test_who_is_admitted(holders, alive, after):
    """There is room for two; a holder whose session has ended makes room."""
    assert admitted(holders, alive, "me", 2) == after


@pytest.mark.parametrize("lock", [b"\xff", b"garbage", b"[]", b"7", b"{}", b'{"holders": "me"}', b'{"holders": [1]}'])
def test_an_unreadable_lock_admits_nobody(lock):
    """As many as may hold could hold already."""
    assert holders_in(None) == holders_in(b"") == [] and holders_in(b'{"holders": ["a"]}') == ["a"]
    with pytest.raises(Refused):
        holders_in(lock)


def limited(agent, script, *, limit=1, **lock):
    """A job that runs only with a permit, beside one that needs none."""
    work = {"name": "work", "exec": shell(script)}
    lock = {"name": "site", "limit": limit, "before": "work", "ttl": "10s", **lock}
    return {"consul": agent.http, "locks": [lock], "jobs": [work, VICTIM]}


@real
def test_never_more_than_the_limit(agent, tmp_path):
    """Five supervisors, two permits: no more than two of their jobs run at once, and all of them run."""
    script = f"cd {tmp_path}; : > in.$$; ls in.* | wc -l >> seen; sleep 0.3; rm in.$$"
    with ExitStack() as stack:
        for number in range(5):
            (tmp_path / str(number)).mkdir()
            stack.enter_context(Pilot(tmp_path / str(number), limited(agent, script, limit=2)))
        seen = tmp_path / "seen"
        eventually(lambda: seen.exists() and len(seen.read_text().split()) == 5, "all have run", patience=40)
        assert max(map(int, seen.read_text().split())) <= 2


@real
def test_waiting_job_can_be_stopped(agent, tmp_path):
    """A job that waits for its permit delays nobody, and is stopped at once."""
    for name in ("holder", "waiter"):
        (tmp_path / name).mkdir()
    with Pilot(tmp_path / "holder", limited(agent, "exec sleep 1000")) as holder:
        holder.wait_event("work", "started")
        with Pilot(tmp_path / "waiter", limited(agent, "exec sleep 1000")) as waiter:
            waiter.wait_event("victim", "started")
            assert waiter.restart_delay("victim", times=2) < 0.1
            assert waiter.stop() == 0
            assert not [line for line in waiter.lines if line.get("job") == "work" and line["event"] == "started"]


@real
def test_an_unreadable_lock_is_waited_for(agent, tmp_path):
    """Who finds the lock unreadable lives on and waits; when somebody has deleted it, it goes on."""
    agent.put("/v1/kv/autopilot/locks/site/.lock", b"garbage")
    with Pilot(tmp_path, limited(agent, "exec sleep 1000")) as pilot:
        first = eventually_contends(agent, before=set())
        eventually_contends(agent, before=first)  # it has looked at the lock, and begins anew
        assert not [line for line in pilot.lines if line.get("job") == "work"]
        agent.ask("/v1/kv/autopilot/locks/site/.lock", method="DELETE")
        pilot.wait_event("work", "started")


def eventually_contends(agent, *, before):
    """The keys of contenders, once there is another than `before`."""

    def keys():
        return set(agent.ask("/v1/kv/autopilot/locks/site/?keys") or ()) - {"autopilot/locks/site/.lock"}

    eventually(lambda: bool(keys() - before), "it contends")
    return before | keys()


@real
def test_dead_holder_frees_itself(agent, tmp_path):
    """A holder that is killed is out when its session ends, after at most twice its TTL; then the next one has it."""
    for name in ("holder", "waiter"):
        (tmp_path / name).mkdir()
    with Pilot(tmp_path / "holder", limited(agent, "exec sleep 1000")) as holder:
        started = holder.wait_event("work", "started")
        with Pilot(tmp_path / "waiter", limited(agent, "exec sleep 1000")) as waiter:
            waiter.wait_event("victim", "started")
            holder.signal(signal.SIGKILL)
            os.kill(started["pid"], signal.SIGKILL)
            waiter.wait_for(lambda line: line.get("job") == "work" and line["event"] == "started", patience=25)


@real
def test_lifetimes_end_one_by_one(agent, tmp_path):
    """Of two containers whose lifetimes are over one drains; the other lives on until that one is gone."""
    spec = service(agent)
    spec["lifetime"] = {"max": "0.5s", "drain": {"exec": "true", "until": f"test -e {tmp_path}/empty", "poll": "0.1s"}}
    spec["locks"] = [{"name": "ends", "limit": 1, "before": "lifetime", "ttl": "10s"}]
    with ExitStack() as stack:
        pilots = []
        for number in range(2):
            (tmp_path / str(number)).mkdir()
            pilots.append(stack.enter_context(Pilot(tmp_path / str(number), spec)))
        for pilot in pilots:
            pilot.wait_for(lambda line: "waits for its turn" in line["event"])
        eventually(lambda: sum(bool(p.events("drain begun")) for p in pilots) == 1, "one drains")
        first = next(p for p in pilots if p.events("drain begun"))
        (other,) = (p for p in pilots if p is not first)
        assert not other.events("drain begun")
        (tmp_path / "empty").touch()
        assert first.wait() == 0
        assert other.wait() == 0
        assert other.words()["reason"] == "lifetime"


@real
@pytest.mark.parametrize("on_error", ["open", "closed"])
def test_without_consul(tmp_path, on_error):
    """Without Consul an open lock is granted after 10 s, a closed one when Consul is there."""
    with consul.agent() as agent:
        agent.kill()
        with Pilot(tmp_path, limited(agent, "exec sleep 1000", on_error=on_error)) as pilot:
            if on_error == "open":
                pilot.wait_event("work", "started")
            else:
                pilot.wait_for(lambda line: line.get("trouble") == "consul-lost")
                agent.start()
                agent.await_leader()
                pilot.wait_event("work", "started")
            eventually(lambda: on_error == "open" or status(agent, "autopilot") == "passing", "registered")
