"""Limits between hosts: a real semaphore, held by real supervisors."""

from __future__ import annotations

import os
import signal
import time
from contextlib import ExitStack

import pytest

from autopilot.adapters.consul.consul_errors import ConsulRefusedError
from autopilot.adapters.consul.semaphore import add_holder, parse_holders
from lab import consul_agents
from tests.adapters.consul.conftest import build_service_spec
from tests.app.harness import PROMPT_S, VICTIM, SupervisorProcess, eventually, shell

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
    """A lock with the limit two takes two holders, and another one after a holder's session has ended."""
    assert add_holder(holders, alive, "me", 2) == after


@pytest.mark.parametrize("lock", [b"\xff", b"garbage", b"[]", b"7", b"{}", b'{"holders": "me"}', b'{"holders": [1]}'])
def test_an_unreadable_lock_admits_nobody(lock):
    """An unreadable list of holders is a refusal, since the limit may be reached."""
    assert parse_holders(None) == parse_holders(b"") == [] and parse_holders(b'{"holders": ["a"]}') == ["a"]
    with pytest.raises(ConsulRefusedError):
        parse_holders(lock)


def build_limited_spec(agent, script, *, limit=1, **lock):
    """A spec with a job that needs a permit, and one that needs none."""
    work = {"name": "work", "exec": shell(script)}
    lock = {"name": "site", "limit": limit, "before": "work", "ttl": "10s", **lock}
    return {"consul": agent.http_address, "locks": [lock], "jobs": [work, VICTIM]}


@real
def test_never_more_than_the_limit(agent, tmp_path):
    """Five supervisors, two permits: no more than two of their jobs run at once, and all of them run."""
    script = f"cd {tmp_path}; : > in.$$; ls in.* | wc -l >> seen; sleep 0.3; rm in.$$"
    with ExitStack() as stack:
        for number in range(5):
            (tmp_path / str(number)).mkdir()
            stack.enter_context(SupervisorProcess(tmp_path / str(number), build_limited_spec(agent, script, limit=2)))
        seen = tmp_path / "seen"
        eventually(lambda: seen.exists() and len(seen.read_text().split()) == 5, "all have run", timeout_s=60)
        assert max(map(int, seen.read_text().split())) <= 2


@real
def test_waiting_job_can_be_stopped(agent, tmp_path):
    """A job that waits for its permit delays no other job, and is stopped at once."""
    for name in ("holder", "waiter"):
        (tmp_path / name).mkdir()
    with SupervisorProcess(tmp_path / "holder", build_limited_spec(agent, "exec sleep 1000")) as holder:
        holder.wait_for_event("work", "started")
        with SupervisorProcess(tmp_path / "waiter", build_limited_spec(agent, "exec sleep 1000")) as waiter:
            waiter.wait_for_event("victim", "started")
            assert waiter.measure_restart_delay("victim", times=2) < PROMPT_S
            assert waiter.stop() == 0
            assert not [line for line in waiter.lines if line.get("job") == "work" and line["message"] == "started"]


@real
def test_an_unreadable_lock_is_waited_for(agent, tmp_path):
    """With an unreadable lock the supervisor runs and its job waits; the job starts after the lock is deleted."""
    agent.put("/v1/kv/autopilot/locks/site/.lock", b"garbage")
    with SupervisorProcess(tmp_path, build_limited_spec(agent, "exec sleep 1000")) as pilot:
        first = wait_for_contender(agent, before=set())
        wait_for_contender(agent, before=first)  # it has looked at the lock, and begins anew
        assert not [line for line in pilot.lines if line.get("job") == "work"]
        agent.request("/v1/kv/autopilot/locks/site/.lock", method="DELETE")
        pilot.wait_for_event("work", "started")


def wait_for_contender(agent, *, before):
    """The keys of contenders, as soon as there is a new one."""

    def list_contender_keys():
        return set(agent.request("/v1/kv/autopilot/locks/site/?keys") or ()) - {"autopilot/locks/site/.lock"}

    eventually(lambda: bool(list_contender_keys() - before), "it contends")
    return before | list_contender_keys()


def destroy_sessions(agent):
    for key in agent.request("/v1/kv/autopilot/locks/site/?recurse"):
        if "Session" in key:
            agent.put(f"/v1/session/destroy/{key['Session']}")


@real
@pytest.mark.parametrize("on_lost", ["continue", "stop"])
def test_a_lost_lock_is_said_at_once(agent, tmp_path, on_lost):
    """A holder whose session was destroyed raises a condition at once, and stops its job if the spec says so."""
    spec = build_limited_spec(agent, "exec sleep 1000", on_lost=on_lost)
    with SupervisorProcess(tmp_path, spec) as holder:
        started = holder.wait_for_event("work", "started")
        at = time.monotonic()
        destroy_sessions(agent)
        lost = holder.wait_for(lambda line: line.get("trouble") == "lock-site" and line["level"] == "error")
        assert lost["arrived"] - at < PROMPT_S and "has lost its lock site" in lost["message"]
        holder.wait_for(lambda line: line.get("event") == "condition_cleared" and line["trouble"] == "lock-site")
        if on_lost == "stop":
            again = holder.wait_for(lambda line: line.get("run") == 2 and line["message"] == "started")
            assert again["pid"] != started["pid"]
        else:
            assert holder.get_pids()["work"] == started["pid"]


@real
def test_a_lock_that_may_have_expired_is_lost(agent, tmp_path):
    """After a TTL without an answer from Consul the holder counts its lock as lost; a shorter outage is none."""
    with SupervisorProcess(tmp_path, build_limited_spec(agent, "exec sleep 1000", on_lost="stop")) as holder:
        holder.wait_for_event("work", "started")
        agent.kill()
        lost = holder.wait_for(lambda line: line.get("trouble") == "lock-site")
        assert "not renewed it for its TTL" in lost["message"]
        holder.wait_for_event("work", "ended")


@real
def test_dead_holder_frees_itself(agent, tmp_path):
    """The permit of a killed holder goes to the next contender after at most twice the session's TTL."""
    for name in ("holder", "waiter"):
        (tmp_path / name).mkdir()
    with SupervisorProcess(tmp_path / "holder", build_limited_spec(agent, "exec sleep 1000")) as holder:
        started = holder.wait_for_event("work", "started")
        with SupervisorProcess(tmp_path / "waiter", build_limited_spec(agent, "exec sleep 1000")) as waiter:
            waiter.wait_for_event("victim", "started")
            holder.send_signal(signal.SIGKILL)
            os.kill(started["pid"], signal.SIGKILL)
            waiter.wait_for(lambda line: line.get("job") == "work" and line["message"] == "started", timeout_s=60)


@real
def test_lifetimes_end_one_by_one(agent, tmp_path):
    """Of two containers with expired lifetimes one drains, the other one keeps running until the first has ended."""
    spec = build_service_spec(agent)
    spec["lifetime"] = {"max": "0.5s", "drain": {"exec": "true", "until": f"test -e {tmp_path}/empty", "poll": "0.1s"}}
    spec["locks"] = [{"name": "ends", "limit": 1, "before": "lifetime", "ttl": "10s"}]
    with ExitStack() as stack:
        pilots = []
        for number in range(2):
            (tmp_path / str(number)).mkdir()
            pilots.append(stack.enter_context(SupervisorProcess(tmp_path / str(number), spec)))
        for pilot in pilots:
            pilot.wait_for(lambda line: "waiting for a permit" in line["message"])
        eventually(lambda: sum(bool(p.find_events("drain begun")) for p in pilots) == 1, "one drains")
        first = next(p for p in pilots if p.find_events("drain begun"))
        (other,) = (p for p in pilots if p is not first)
        assert not other.find_events("drain begun")
        (tmp_path / "empty").touch()
        assert first.wait() == 0
        assert other.wait() == 0
        assert other.read_last_words()["reason"] == "lifetime"


@real
@pytest.mark.parametrize("on_error", ["open", "closed"])
def test_without_consul(tmp_path, on_error):
    """Without Consul an open lock is granted after 10 s, a closed one as soon as Consul answers."""
    with consul_agents.start_agent() as agent:
        agent.kill()
        with SupervisorProcess(tmp_path, build_limited_spec(agent, "exec sleep 1000", on_error=on_error)) as pilot:
            if on_error == "open":
                pilot.wait_for_event("work", "started")
            else:
                pilot.wait_for(lambda line: line.get("trouble") == "consul-lost")
                agent.start()
                agent.await_leader()
                pilot.wait_for_event("work", "started")
            eventually(lambda: on_error == "open" or bool(agent.request("/v1/kv/autopilot/fleet/?keys")), "registered")
