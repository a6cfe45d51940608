"""A kind of check and a batch system that only the tests have, through the command line and the real supervisor."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from autopilot.spec.extensions import (
    BATCH_SYSTEMS,
    CHECK_KINDS,
    BatchSystemKind,
    CheckKind,
    load_batch_system,
    load_check_kind,
)
from tests.app.harness import SupervisorProcess, eventually

pytestmark = pytest.mark.slow

EXTENSIONS = {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parent / "extensions"), os.getcwd()])}


def run_autopilot(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, **EXTENSIONS}
    command = [sys.executable, "-m", "autopilot", *arguments]
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("name", CHECK_KINDS)
def test_each_registered_kind_has_all_members(name: str) -> None:
    """Every module in the registry of checks is a CheckKind, under the key that its plan type names."""
    kind = load_check_kind(name)
    assert isinstance(kind, CheckKind)
    assert kind.PROBE_TYPE.kind == name


@pytest.mark.parametrize("name", BATCH_SYSTEMS)
def test_each_registered_batch_system_has_all_members(name: str) -> None:
    """Every package in the registry of batch systems is a BatchSystemKind."""
    assert isinstance(load_batch_system(name), BatchSystemKind)


# --- a kind of check ---


def build_check_spec(*checks: dict[str, Any]) -> dict[str, Any]:
    jobs = [
        {"name": f"job{i}", "exec": ["sleep", "1000"], "health": {"interval": "50ms", **check}}
        for i, check in enumerate(checks)
    ]
    return {"jobs": jobs}


@pytest.mark.parametrize(
    ("health", "line"),
    [
        ('{marker: "relative"}', '2:12: jobs[a].health.marker: cannot be "relative"; write an absolute path'),
        (
            "{}",
            f"2:3: jobs[a].health: cannot be without a check; add one of {', '.join(CHECK_KINDS)} or marker",
        ),
        ('{marker: "/x", tcp: "h:1"}', "2:12: jobs[a].health.marker: cannot stand beside tcp"),
    ],
)
def test_problems_of_a_new_kind_have_their_place(tmp_path: Path, health: str, line: str) -> None:
    """A wrong value, a check without a kind and two kinds at once are told with line, column and the new key."""
    (tmp_path / "spec.json5").write_text(f'{{jobs: [{{name: "a", exec: "sleep 1", health:\n  {health}}}]}}')
    found = run_autopilot("check", "spec.json5", cwd=tmp_path)
    assert found.returncode == 78
    assert line in found.stdout + found.stderr


def test_schema_has_the_new_keys(tmp_path: Path) -> None:
    """The JSON Schema for editors follows the registries."""
    schema = json.loads(run_autopilot("schema", cwd=tmp_path).stdout)
    assert schema["$defs"]["Health"]["properties"]["marker"]["description"] == "a file that must be there"
    assert {"type": "string"} in schema["properties"]["spool"]["anyOf"]
    assert schema["$defs"]["Drain"]["properties"]["spool"]["description"] == "until no file is left"


def test_a_new_kind_runs(tmp_path: Path) -> None:
    """A job is healthy once its check of the new kind passes, and its failure is told with the check's words."""
    with SupervisorProcess(tmp_path, build_check_spec({"marker": str(tmp_path / "flag")}), env=EXTENSIONS) as pilot:
        pilot.wait_for(lambda line: line.get("job") == "job0" and str(tmp_path / "flag") in str(line))
        (tmp_path / "flag").touch()
        eventually(lambda: pilot.get_status()["jobs"][0]["health"] == "healthy", "healthy")
        assert pilot.stop() == 0


def test_a_check_with_a_defect_ends_no_life(tmp_path: Path) -> None:
    """A check whose own code fails counts as failed; the other jobs and their checks go on."""
    spec = build_check_spec({"marker": "/broken"}, {"marker": "/"})
    with SupervisorProcess(tmp_path, spec, env=EXTENSIONS) as pilot:
        line = pilot.wait_for(lambda line: "internal error in the marker check" in line["message"])
        assert "a defect of the check" in line["message"]
        eventually(lambda: pilot.get_status()["jobs"][1]["health"] == "healthy", "the other job's check")
        assert pilot.stop() == 0


# --- a batch system ---


def build_spool_spec(tmp_path: Path, **section: Any) -> dict[str, Any]:
    """A spec whose main process writes its environment; the spool has one running payload."""
    (tmp_path / "spool" / "running").mkdir(parents=True)
    (tmp_path / "spool" / "running" / "payload").touch()
    (tmp_path / "spoold").write_text('#!/bin/sh\necho "$SPOOL $SPOOL_PID $$"\nexec sleep 1000\n')
    (tmp_path / "spoold").chmod(0o755)
    return {
        "spool": {"directory": str(tmp_path / "spool"), **section},
        "jobs": [{"name": "main", "exec": [str(tmp_path / "spoold")]}],
    }


def wait_for_payload(pilot: SupervisorProcess) -> None:
    pilot.wait_for_event("main", "started")
    eventually(lambda: pilot.get_status().get("spool", {}).get("payloads") == ["payload"], "the payload is seen")


def test_a_new_batch_system_drains(tmp_path: Path) -> None:
    """The life ends with 0 once the payload is done: the spec names no drain, the section alone implies it."""
    with SupervisorProcess(tmp_path, build_spool_spec(tmp_path), env=EXTENSIONS) as pilot:
        wait_for_payload(pilot)
        pid = pilot.get_pids()["main"]
        assert pilot.get_status()["spool"] == {"job": "main", "payloads": ["payload"], "pid": pid}
        assert pilot.run_verb("drain", "--no-wait").returncode == 0
        eventually((tmp_path / "spool" / "closed").exists, "the drain begins")
        assert pilot.process.poll() is None
        (tmp_path / "spool" / "running" / "payload").unlink()
        assert pilot.wait() == 0
        assert pilot.list_job_output("main") == [f"{tmp_path / 'spool'} {pid} {pid}"]
        assert pilot.read_last_words()["reason"] == "drain"


def test_a_new_batch_system_gives_its_payloads_back(tmp_path: Path) -> None:
    """SIGTERM evicts: the payload is in its queue when the life has ended."""
    with SupervisorProcess(tmp_path, build_spool_spec(tmp_path), env=EXTENSIONS) as pilot:
        wait_for_payload(pilot)
        assert pilot.stop() == 0
        assert (tmp_path / "spool" / "queue" / "payload").exists()


def test_a_failing_eviction_takes_the_emergency_path(tmp_path: Path) -> None:
    """An eviction that fails is heard: the last resort gives the payload back, and the exit code is 70."""
    with SupervisorProcess(tmp_path, build_spool_spec(tmp_path, broken=True), env=EXTENSIONS) as pilot:
        wait_for_payload(pilot)
        assert pilot.stop() == 70
        assert (tmp_path / "spool" / "queue" / "payload").exists()
        assert pilot.find_events("a defect of the eviction")
        assert pilot.read_last_words()["reason"] == "internal"


def test_a_new_batch_system_can_refuse_to_start(tmp_path: Path) -> None:
    """What `prepare` finds wrong is told with its remedy, and nothing is started."""
    spec = build_spool_spec(tmp_path) | {"spool": {"directory": str(tmp_path / "none")}}
    with SupervisorProcess(tmp_path, spec, env=EXTENSIONS) as pilot:
        assert pilot.wait() == 78
        assert pilot.find_events(f"cannot find the spool {tmp_path / 'none'}: make it")
        assert pilot.list_job_output("main") == []


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("lifetime: {max: 5}", "lifetime.drain: cannot be left out: nothing says how to empty this container; write"),
        ("spool: {directory: '/x'}", "spool.job: cannot be left out: no job runs spoold; name the job"),
        ("spool: {directory: '/x', job: 'm'}", 'spool.job: cannot be "m": there is no such job'),
        ("htcondor: 'a', spool: {directory: '/x', job: 'a'}", "spool: cannot stand beside htcondor: one batch system"),
        (
            "htcondor: 'a', lifetime: {drain: {spool: true}}",
            "lifetime.drain.spool: cannot be used without the section spool; add spool: {job: NAME}",
        ),
        (
            "spool: {directory: '/x', job: 'a'}, lifetime: {drain: {spool: true, exec: 'x'}}",
            "lifetime.drain: cannot be both spool and exec; keep one of the two",
        ),
    ],
)
def test_rules_follow_the_registry(tmp_path: Path, text: str, line: str) -> None:
    """What is wrong around the section and the drain is told of a new batch system as of HTCondor."""
    (tmp_path / "spec.json5").write_text(f'{{jobs: [{{name: "a", exec: "sleep 1"}}], {text}}}')
    found = run_autopilot("check", "spec.json5", cwd=tmp_path)
    assert line in found.stdout + found.stderr
    assert found.returncode == 78


def test_the_main_process_has_the_sections_defaults(tmp_path: Path) -> None:
    """The job that runs the batch system's program is stopped as its section says."""
    spec = build_spool_spec(tmp_path)
    (tmp_path / "spec.json").write_text(json.dumps(spec))
    plan = json.loads(run_autopilot("plan", "-o", "json", "spec.json", cwd=tmp_path).stdout)
    assert (plan["jobs"][0]["stop"]["timeout"], plan["jobs"][0]["stop"]["group"]) == (7, False)
    settings = {"directory": str(tmp_path / "spool"), "limits": {"poll": 0.01}, "broken": False}
    assert plan["batch"] == {"system": "spool", "job": "main", "settings": settings, "implied": False}
