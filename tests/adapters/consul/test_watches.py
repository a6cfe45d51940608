"""Watches on a real agent start the jobs that wait for them."""

from __future__ import annotations

import itertools
import statistics
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autopilot.adapters.consul.blocking_query import MAX_LOOKS_PER_S, LookLimiter, has_blocked
from lab import consul_agents
from tests.app.harness import PROMPT_S, VICTIM, SupervisorProcess, eventually

pytestmark = pytest.mark.real("consul")


def build_watch_spec(agent, *events, **watch):
    jobs = [
        {"name": event.lower(), "exec": ["echo", event], "when": {"source": "watch.db", "each": event}}
        for event in events
    ]
    return {
        "consul": {"address": agent.http_address, **watch.pop("consul", {})},
        "watches": [{"name": "db", "interval": "0.1s", **watch}],
        "jobs": [VICTIM, *jobs],
    }


def put_instance(agent, id, status="passing", **fields):
    body = {"ID": id, "Name": "db", "Port": 5432, "Check": {"CheckID": id, "TTL": "1h", "Status": status}, **fields}
    agent.put("/v1/agent/service/register", body)


def wait_until_watching(agent, pilot):
    """Wait until the supervisor watches: it has reported the first instance."""
    put_instance(agent, "db-1")
    pilot.wait_for(lambda line: line.get("watch") == "db")


def test_changed_healthy_unhealthy(agent, tmp_path):
    """A new or a missing instance is `changed`, then `healthy` or, without any instance, `unhealthy`."""
    with SupervisorProcess(tmp_path, build_watch_spec(agent, "changed", "healthy", "unhealthy")) as pilot:
        wait_until_watching(agent, pilot)
        pilot.wait_for_event("healthy", "healthy")
        agent.put("/v1/agent/check/fail/db-1")
        pilot.wait_for_event("unhealthy", "unhealthy")
        eventually(lambda: len(pilot.list_job_output("changed")) == 2, "changed, twice")
        agent.put("/v1/agent/check/pass/db-1")
        eventually(lambda: len(pilot.list_job_output("healthy")) == 2, "healthy again")


def test_change_to_job_start(agent, tmp_path):
    """From a change in Consul to the start of the job that waits for it nothing is waited for: the median of ten."""
    with SupervisorProcess(tmp_path, build_watch_spec(agent, "changed", interval="0.05s")) as pilot:
        wait_until_watching(agent, pilot)
        delays = []
        for number in range(10):
            eventually(lambda n=number: len(pilot.list_job_output("changed")) == n + 1, "the one before")
            time.sleep(0.2)  # a quiet time, longer than the interval
            since, at = len(pilot.lines), time.monotonic()
            put_instance(agent, "db-1", Port=6000 + number)
            line = pilot.wait_for(
                lambda line: line.get("job") == "changed" and line["message"] == "started", since=since
            )
            delays.append(line["arrived"] - at)
        print("change to job start, ms:", [round(delay * 1000, 1) for delay in sorted(delays)])
        assert statistics.median(delays) < PROMPT_S


def test_nothing_of_ours_changed(agent, tmp_path):
    """A check's new output, another service or a new tag order is no change."""
    with SupervisorProcess(tmp_path, build_watch_spec(agent, "changed")) as pilot:
        put_instance(agent, "db-1", Tags=["a", "b"])
        pilot.wait_for_event("changed", "changed")
        agent.put("/v1/agent/check/pass/db-1?note=other")
        put_instance(agent, "db-1", Tags=["b", "a"])
        agent.put("/v1/agent/service/register", {"ID": "x", "Name": "other"})
        put_instance(agent, "db-2")  # the next real change comes after all these
        eventually(lambda: len(pilot.list_job_output("changed")) >= 2, "the second")
        assert len(pilot.find_events("watch changed")) == 2


def test_tag(agent, tmp_path):
    """With a tag only instances that carry it count."""
    with SupervisorProcess(tmp_path, build_watch_spec(agent, "healthy", "unhealthy", tag="primary")) as pilot:
        put_instance(agent, "db-2", Tags=["replica"])
        put_instance(agent, "db-1", Tags=["primary"])
        pilot.wait_for_event("healthy", "healthy")
        put_instance(agent, "db-1", Tags=["replica"])
        pilot.wait_for_event("unhealthy", "unhealthy")


@pytest.mark.parametrize("existing", [True, False])
def test_the_interval_delays_no_change(agent, tmp_path, existing):
    """A change right after another look is seen at once, however long the interval is, also of a new service."""
    with SupervisorProcess(tmp_path, build_watch_spec(agent, "changed", interval="5m")) as pilot:
        wait_until_watching(agent, pilot)
        for number in range(3):
            since = len(pilot.lines)
            if not existing:
                agent.put("/v1/agent/service/deregister/db-1")
                pilot.wait_for(lambda line: line.get("event") == "watch_unhealthy", since=since)
            agent.put("/v1/agent/service/register", {"ID": f"x{number}", "Name": f"other{number}"})
            since, at = len(pilot.lines), time.monotonic()
            put_instance(agent, "db-1", Port=6000 + number)
            changed = pilot.wait_for(lambda line: line.get("event") == "watch_healthy", since=since)
            assert changed["arrived"] - at < PROMPT_S


def simulate_looks(changes):
    """Return the moments of a query's answers, and the waits after them; `changes` are the moments of changes."""
    limiter, now, looks, waits = LookLimiter(0.0), 0.0, [], []
    for at in sorted(changes):
        if at < now:
            continue  # merged into the look at `now`
        looks.append(at)
        waits.append(limiter.reserve_look(at))
        now = at + waits[-1]
    return looks, waits


@given(st.lists(st.floats(0, 60), max_size=200))
def test_looks_are_limited(changes):
    """However changes come, looks are a few a second, and after a quiet second there is no wait."""
    looks, waits = simulate_looks(changes)
    for first, last in itertools.combinations(range(len(looks)), 2):
        assert last - first + 1 <= 1.001 * MAX_LOOKS_PER_S * (1 + looks[last] - looks[first]) + 1
    for index in range(len(looks)):
        if index == 0 or looks[index] - looks[index - 1] - waits[index - 1] > 1:
            assert waits[index] == 0


def test_a_consul_that_does_not_block_is_polled_at_the_interval():
    """Only an answer without a change, sooner than Consul lets a query end, shows that it does not block."""
    assert not has_blocked(7, 7, 0.01) and not has_blocked(0, 0, 0.01) and not has_blocked(7, 0, 0.01)
    assert has_blocked(0, 7, 0.01) and has_blocked(7, 8, 0.01) and has_blocked(7, 7, 61.0)


def test_a_burst_is_merged(agent, tmp_path):
    """Many changes cause a few events in each second, whatever the interval is, and the last state is reported."""
    with SupervisorProcess(tmp_path, build_watch_spec(agent, "changed", "unhealthy", interval="5m")) as pilot:
        wait_until_watching(agent, pilot)
        began = time.monotonic()
        for number in range(30):
            put_instance(agent, "db-1", Port=7000 + number)
        agent.put("/v1/agent/service/deregister/db-1")
        pilot.wait_for_event("unhealthy", "unhealthy")
        seconds = time.monotonic() - began
        assert len(pilot.find_events("watch changed")) <= 2 + MAX_LOOKS_PER_S * (1 + seconds)


def test_agent_lost_is_no_event(agent, tmp_path):
    """While Consul is unreachable the last state stays; changes are reported at its return."""
    with SupervisorProcess(tmp_path, build_watch_spec(agent, "changed", "unhealthy")) as pilot:
        wait_until_watching(agent, pilot)
        agent.kill()
        pilot.wait_for(lambda line: line.get("trouble") == "consul-lost")
        assert not pilot.list_job_output("unhealthy")
        agent.start()
        agent.await_leader()
        put_instance(agent, "db-1", Port=1)
        eventually(lambda: len(pilot.list_job_output("changed")) >= 2, "changed")


def test_unknown_token_is_no_event(tmp_path):
    """A revoked token, which is shown no instances and no error, does not cause `unhealthy`."""
    with consul_agents.start_agent(consul_agents.DEFAULT_DENY_CONFIG) as agent:
        rules = 'service_prefix "" { policy = "write" } node_prefix "" { policy = "read" }'
        token = consul_agents.create_token(agent, rules)
        spec = build_watch_spec(agent, "changed", "unhealthy", consul={"token": token})
        with SupervisorProcess(tmp_path, spec) as pilot:
            wait_until_watching(agent, pilot)
            accessor = agent.request("/v1/acl/token/self", token=token)["AccessorID"]
            agent.request(f"/v1/acl/token/{accessor}", method="DELETE")
            put_instance(agent, "db-1", Port=1)  # wakes the held query, with a token nobody knows
            pilot.wait_for(lambda line: line.get("trouble") == "consul-watch-db", timeout_s=60)
            assert not pilot.list_job_output("unhealthy")


def build_key_watch_spec(agent, *events):
    spec = build_watch_spec(agent, *events)
    return {**spec, "watches": [{"name": "db", "key": "site/mode", "interval": "0.1s"}]}


def put_key(agent, value):
    assert agent.request("/v1/kv/site/mode", method="PUT", body=value)


def test_key_as_a_watch(agent, tmp_path):
    """A new value of a key is `changed` and `healthy`, its deletion `changed` and `unhealthy`; the same value again and
    other keys cause no event, and a value need not be text.
    """
    with SupervisorProcess(tmp_path, build_key_watch_spec(agent, "changed", "healthy", "unhealthy")) as pilot:
        put_key(agent, b"a")
        eventually(lambda: len(pilot.list_job_output("changed")) == 1, "it is there")
        put_key(agent, b"a")
        assert agent.request("/v1/kv/site/mode-of-others", method="PUT", body=b"x")
        put_key(agent, b"\xff\xfe")
        eventually(lambda: len(pilot.list_job_output("changed")) == 2, "another value")
        put_key(agent, b"\xff\xfd")
        eventually(lambda: len(pilot.list_job_output("changed")) == 3, "and another")
        put_key(agent, b"")
        eventually(lambda: len(pilot.list_job_output("healthy")) == 4, "an empty value is one")
        agent.request("/v1/kv/site/mode", method="DELETE")
        pilot.wait_for_event("unhealthy", "unhealthy")
        eventually(lambda: len(pilot.list_job_output("changed")) == 5, "gone")
        assert pilot.stop() == 0
        assert len(pilot.find_events("watch changed")) == 5 and len(pilot.list_job_output("healthy")) == 4


def test_key_that_is_there_at_the_start(agent, tmp_path):
    """A key that has a value when the watch begins is `changed` once, as a service with instances is."""
    put_key(agent, b"a")
    with SupervisorProcess(tmp_path, build_key_watch_spec(agent, "changed")) as pilot:
        pilot.wait_for_event("changed", "changed")
        assert len(pilot.find_events("watch changed")) == 1


def test_key_change_to_job_start(agent, tmp_path):
    """From a key's change to the start of the job that waits for it nothing is waited for: the median of ten."""
    with SupervisorProcess(tmp_path, build_key_watch_spec(agent, "changed")) as pilot:
        put_key(agent, b"first")
        delays = []
        for number in range(10):
            eventually(lambda n=number: len(pilot.list_job_output("changed")) == n + 1, "the one before")
            time.sleep(0.2)  # a quiet time, longer than the interval
            since, at = len(pilot.lines), time.monotonic()
            put_key(agent, f"value {number}".encode())
            line = pilot.wait_for(
                lambda line: line.get("job") == "changed" and line["message"] == "started", since=since
            )
            delays.append(line["arrived"] - at)
        print("key's change to job start, ms:", [round(delay * 1000, 1) for delay in sorted(delays)])
        assert statistics.median(delays) < PROMPT_S


def test_key_that_may_not_be_read(tmp_path):
    """Without the permission to read its key a watch causes no event; jobs run, and one line names the missing rule."""
    with consul_agents.start_agent(consul_agents.DEFAULT_DENY_CONFIG) as agent:
        rules = 'service_prefix "" { policy = "write" } node_prefix "" { policy = "read" }'
        spec = build_key_watch_spec(agent, "changed", "unhealthy")
        spec["consul"] = {"address": agent.http_address, "token": consul_agents.create_token(agent, rules)}
        put_key(agent, b"a")
        with SupervisorProcess(tmp_path, spec) as pilot:
            pilot.wait_for_event("victim", "started")
            log_line = pilot.wait_for(lambda line: line.get("trouble") == "consul-watch-db")
            assert 'allow its token key "site/mode" (read)' in log_line["message"]
            put_key(agent, b"b")
            assert pilot.measure_restart_delay("victim") < PROMPT_S
            assert pilot.stop() == 0
            assert not pilot.find_events("watch changed") and len(pilot.find_events("refuses to show the key")) == 1


READ_POLICY = (
    'service_prefix "" { policy = "write" } node_prefix "" { policy = "read" } key_prefix "" { policy = "read" }'
)
DENYING_POLICIES = {
    "everything": 'service "db" { policy = "deny" }',
    "one service": f'{READ_POLICY} service "db" {{ policy = "deny" }}',
    "the nodes": 'service_prefix "" { policy = "write" }',
}


@pytest.mark.parametrize("lost", DENYING_POLICIES)
def test_lost_policy_is_no_event(tmp_path, lost):
    """A known token that lost its permission, which is shown an empty service, causes a condition and no event."""
    with consul_agents.start_agent(consul_agents.DEFAULT_DENY_CONFIG) as agent:
        token = consul_agents.create_token(agent, READ_POLICY)
        with SupervisorProcess(
            tmp_path, build_watch_spec(agent, "changed", "unhealthy", consul={"token": token})
        ) as pilot:
            wait_until_watching(agent, pilot)
            consul_agents.set_policy_rules(agent, DENYING_POLICIES[lost])
            put_instance(agent, "db-1", Port=1)  # wakes the held query
            pilot.wait_for(lambda line: line.get("trouble") == "consul-watch-db", timeout_s=60)
            consul_agents.set_policy_rules(agent, READ_POLICY)
            eventually(lambda: len(pilot.list_job_output("changed")) == 2, "seen again, with its new port")
            assert not pilot.list_job_output("unhealthy")


def test_lost_policy_without_connect(tmp_path):
    """The permission is checked at the servers too, through an agent with an outdated cache and without Connect."""
    with consul_agents.start_agents(3, 1, config=consul_agents.DEFAULT_DENY_CONFIG) as (server, *_, client):
        token = consul_agents.create_token(server, READ_POLICY)
        with SupervisorProcess(
            tmp_path, build_watch_spec(client, "changed", "unhealthy", consul={"token": token})
        ) as pilot:
            wait_until_watching(server, pilot)
            consul_agents.set_policy_rules(server, DENYING_POLICIES["everything"])
            put_instance(server, "db-1", Port=1)
            pilot.wait_for(lambda line: line.get("trouble") == "consul-watch-db", timeout_s=60)
            assert not pilot.list_job_output("unhealthy")


def test_emptied_under_default_deny(tmp_path):
    """A service without instances is `unhealthy` for a token with permission."""
    with consul_agents.start_agent(consul_agents.DEFAULT_DENY_CONFIG) as agent:
        token = consul_agents.create_token(agent, READ_POLICY)
        with SupervisorProcess(tmp_path, build_watch_spec(agent, "unhealthy", consul={"token": token})) as pilot:
            wait_until_watching(agent, pilot)
            agent.put("/v1/agent/service/deregister/db-1")
            pilot.wait_for_event("unhealthy", "unhealthy")
