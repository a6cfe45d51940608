"""Test plans as JSON and back, and the cost of importing them."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autopilot.adapters.batch.htcondor.htcondor_settings import HtcondorNode, HtcondorSettings
from autopilot.adapters.checks.exec_check import ExecProbe
from autopilot.adapters.checks.htcondor_check import HtcondorProbe
from autopilot.adapters.checks.http_check import HttpProbe
from autopilot.adapters.checks.tcp_check import TcpProbe
from autopilot.spec import deserialize_plan, serialize_plan
from autopilot.spec import plan as p
from autopilot.spec.plan_data import PLAN_VERSION

NUMBERS = st.floats(0, 1e9)
WORDS = st.text(max_size=8)
MAPS = st.dictionaries(WORDS, WORDS, max_size=3)


COMMANDS = st.builds(
    p.Command,
    argv=st.lists(WORDS, min_size=1, max_size=3).map(tuple),
    user=st.none() | WORDS,
    group=st.none() | WORDS,
    cwd=st.none() | WORDS,
    umask=st.none() | st.integers(0, 0o777),
    env=MAPS,
    env_file=st.none() | WORDS,
    limits=st.dictionaries(WORDS, st.integers(-1, 2**62), max_size=2),
)
TRIGGERS = st.builds(p.Trigger, source=WORDS, event=WORDS)
PROBES = st.one_of(
    st.builds(ExecProbe, command=COMMANDS, raw=st.booleans()),
    st.builds(HttpProbe, url=WORDS, status=st.tuples(st.integers(100, 599), st.integers(100, 599)), headers=MAPS),
    st.builds(TcpProbe, host=WORDS, port=st.integers(1, 65535)),
    st.builds(HtcondorProbe, aspect=st.sampled_from(["startd", "pool", "master", "space"])),
)
JOBS = st.builds(
    p.Job,
    name=WORDS,
    command=COMMANDS,
    when=st.builds(
        p.When,
        triggers=st.lists(TRIGGERS, max_size=2).map(tuple),
        each=st.booleans(),
        delay=NUMBERS,
        timeout=st.none() | NUMBERS,
        every=st.none() | NUMBERS,
    ),
    restarts=st.none() | st.integers(0, 9),
    backoff=st.builds(p.Backoff, initial=NUMBERS, jitter=st.floats(0, 1)),
    stop=st.builds(
        p.Stop,
        signal=st.integers(1, 64),
        escalate=st.lists(st.tuples(NUMBERS, st.integers(1, 64)), max_size=2).map(tuple),
    ),
    health=st.none() | st.builds(p.Health, probe=PROBES, interval=NUMBERS, timeout=NUMBERS, ttl=NUMBERS),
    service=st.none() | st.builds(p.Service, port=st.integers(1, 65535), tags=st.lists(WORDS, max_size=2).map(tuple)),
)
LIFETIMES = st.builds(
    p.Lifetime,
    drain=st.builds(p.Drain, by_batch_system=st.booleans(), begin=st.none() | COMMANDS, until=st.none() | COMMANDS),
    max=st.none() | NUMBERS,
    after=st.none() | TRIGGERS,
)
BATCHES = st.builds(
    p.Batch,
    system=st.just("htcondor"),
    job=WORDS,
    settings=st.builds(
        HtcondorSettings,
        node=st.none() | st.builds(HtcondorNode, memory=st.none() | st.integers(0, 2**60), settings=MAPS),
    ),
)
PLANS = st.builds(
    p.Plan,
    jobs=st.lists(JOBS, max_size=3).map(tuple),
    lifetime=st.none() | LIFETIMES,
    batch=st.none() | BATCHES,
    logging=st.builds(p.Logging, output=WORDS),
    consul=st.none() | st.builds(p.Consul, address=WORDS, tls=st.none() | st.builds(p.Tls, cafile=st.none() | WORDS)),
    consul_agent=st.none() | st.builds(p.ConsulAgent, job=WORDS, join=st.lists(WORDS).map(tuple), meta=MAPS),
    watches=st.lists(st.builds(p.Watch, name=WORDS, interval=NUMBERS), max_size=2).map(tuple),
    telemetry=st.none()
    | st.builds(
        p.Telemetry,
        port=st.integers(1, 65535),
        metrics=st.lists(
            st.builds(p.Metric, name=WORDS, help=WORDS, type=st.just("gauge"), buckets=st.lists(NUMBERS).map(tuple)),
            max_size=2,
        ).map(tuple),
    ),
    state=st.none() | WORDS,
)


@pytest.mark.slow
@given(PLANS)
def test_round_trip(plan: p.Plan) -> None:
    """Any plan comes back from its JSON text equal, tuples, classes and all."""
    back = deserialize_plan(json.loads(json.dumps(serialize_plan(plan))))
    assert back == plan
    assert repr(back) == repr(plan)


@pytest.mark.parametrize(
    "data",
    [
        {},
        [],
        None,
        {"plan_version": 0},
        {"plan_version": PLAN_VERSION - 1},
        {"plan_version": PLAN_VERSION, "jobs": [{}]},
        {"plan_version": PLAN_VERSION, "nope": 1},
        {
            "plan_version": PLAN_VERSION,
            "jobs": [{"name": "a", "command": {"argv": []}, "health": {"probe": {"kind": "x"}}}],
        },
        {"plan_version": PLAN_VERSION, "jobs": [1]},
        {"plan_version": PLAN_VERSION, "lifetime": {"drain": 7, "x": 1}},
        {"plan_version": PLAN_VERSION, "batch": {"system": "none", "job": "a", "settings": {}}},
        {"plan_version": PLAN_VERSION, "batch": {"system": "htcondor", "job": "a", "settings": 1}},
    ],
)
def test_another_versions_plan_is_refused(data: Any) -> None:
    """Data that `serialize_plan` of this version did not write is a ValueError with a remedy, never a wrong plan."""
    with pytest.raises(ValueError, match=r"cannot use this plan: .*; compile the job spec again"):
        deserialize_plan(data)


def test_reading_a_plan_imports_nothing_heavy() -> None:
    """The supervisor's start reads a plan without pydantic, click, the parsers or the template engine."""
    program = """
import sys
import autopilot.spec, autopilot.spec.plan, autopilot.spec.validation_child
from autopilot.spec import deserialize_plan
from autopilot.spec.extensions import BATCH_SYSTEMS, CHECK_KINDS, load_batch_system, load_check_kind
for name in CHECK_KINDS: load_check_kind(name)
for name in BATCH_SYSTEMS: load_batch_system(name)
heavy = {"pydantic", "click", "pyjson5", "difflib", "asyncio", "h11", "ssl"}
heavy |= {"autopilot.spec.gotemplate", "autopilot.spec.quantities"}
print(sorted(heavy & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout == "[]\n"
