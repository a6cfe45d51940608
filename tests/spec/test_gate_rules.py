"""The key `checks`: its rules, and the plan that it becomes."""

from __future__ import annotations

import json

import pytest

from autopilot.adapters.checks.path_check import PathProbe
from autopilot.spec import load_text
from autopilot.spec.plan_data import deserialize_plan, serialize_plan
from tests.spec.test_validation import assert_problem_at_mark, load_spec

JOBS = "jobs: [{name: 'a', exec: 'true'}, {name: 'b', exec: 'true', when: {source: 'a', once: 'stopped'}}]"


@pytest.mark.parametrize(
    ("check", "message"),
    [
        ("‸{name: 'x'}", "checks[x]: cannot be without a check; add one of exec, http, tcp, path, space, limit,"),
        ("{name: 'x', exec: 'y', tcp: ‸'h:1'}", "checks[x].tcp: cannot stand beside exec: one check for each entry"),
        ("{name: 'x', ‸htcondor: 'startd'}", "checks[x].htcondor: cannot be asked before jobs"),
        ("{name: 'x', exec: 'y', before: ‸'c'}", 'checks[x].before: cannot be "c": no job has this name'),
        ("{name: 'x', exec: 'y', before: ‸'b'}", 'checks[x].before: cannot be "b": this job runs because of a stop'),
        ("{name: 'x', exec: 'y', on_failure: ‸'restart'}", 'checks[x].on_failure: cannot be "restart"; one of neutral'),
        ("{name: 'x', path: ‸'relative'}", 'checks[x].path.path: cannot be "relative"; write an absolute path'),
        ("{name: 'x', limit: ‸{pid: 3}}", 'checks[x].limit: cannot use "pid": no such limit; did you mean "pids"?'),
        ("{name: 'x', exec: 'y'}, {name: ‸'x', exec: 'y'}", 'checks[x].name: cannot be "x" again: checks[0] has'),
    ],
)
def test_mistakes_have_their_place(check: str, message: str) -> None:
    """Each mistake is reported at its place, with the remedy."""
    assert_problem_at_mark(f"{{{JOBS}, checks: [{check}]}}", message)


def test_a_gate_has_its_defaults() -> None:
    """A gate guards all jobs but stop hooks, waits five minutes, and has the remedy of its kind."""
    (gate,) = load_spec(f"{{{JOBS}, checks: [{{name: 'x', path: '/cvmfs'}}]}}").plan.checks
    assert (gate.before, gate.retry, gate.attempt_timeout, gate.timeout) == (("a",), 10.0, 10.0, 300.0)
    assert gate.on_failure == "neutral"
    assert gate.remedy.startswith("mount it")


def test_a_gate_asks_as_its_first_job_does() -> None:
    """A check runs with the user and the limits of the first job that it guards."""
    jobs = "jobs: [{name: 'a', exec: 'true', user: 12, limits: {nofile: 5}}]"
    spec = f"{{{jobs}, checks: [{{name: 'x', path: '/c', before: 'a'}}, {{name: 'y', path: '/c'}}]}}"
    first, second = (gate.probe for gate in load_spec(spec).plan.checks)
    assert isinstance(first, PathProbe)
    assert isinstance(second, PathProbe)
    assert (first.user, dict(first.job_limits)) == ("12", {"nofile": 5})
    assert (second.user, dict(second.job_limits)) == (None, {})


def test_every_kind_survives_the_compiled_plan() -> None:
    """A plan with every kind of gate is the same after a way through JSON."""
    kinds = (
        "exec: 'true'",
        "http: 'http://h/'",
        "tcp: 'h:1'",
        "path: {path: '/p', access: 'write'}",
        "space: {path: '/p', free: '1GB'}",
        "limit: {nofile: 65536, pids: 100}",
        "valid: {path: '/t', left: '6h'}",
        "resolves: 'h'",
    )
    checks = ", ".join(f"{{name: 'g{i}', {kind}}}" for i, kind in enumerate(kinds))
    plan = load_text(f"{{{JOBS}, checks: [{checks}]}}").plan
    assert len(plan.checks) == len(kinds)
    assert deserialize_plan(json.loads(json.dumps(serialize_plan(plan)))) == plan


def test_a_retry_beyond_the_timeout_is_warned_about() -> None:
    """A retry that is longer than the whole patience is taken, with a warning."""
    (warning,) = load_spec(f"{{{JOBS}, checks: [{{name: 'x', exec: 'true', retry: '1h'}}]}}").warnings
    assert "is longer than the timeout (5m)" in str(warning)
