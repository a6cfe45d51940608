"""Gates in a real supervisor: a life waits for what is missing, ends by it, follows a reload, and never hangs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lab.faults import mount_hanging_filesystem
from tests.app.harness import SupervisorProcess, eventually, find_free_port

pytestmark = pytest.mark.slow

JOBS = [{"name": "guarded", "exec": ["sleep", "1000"]}, {"name": "free", "exec": ["sleep", "1000"]}]


def build_spec(*checks: dict[str, Any], **keys: Any) -> dict[str, Any]:
    usual = {"before": "guarded", "retry": "100ms", "attempt_timeout": "60s", "timeout": "10m"}
    return {"jobs": JOBS, "checks": [{**usual, **check} for check in checks], **keys}


def test_a_job_waits_for_a_path_and_a_port(tmp_path: Path) -> None:
    """The guarded job starts when all is there; until then `status` and `why` name the check, its answer and remedy."""
    port = find_free_port()
    late = {"name": "late", "exec": ["python3", "-m", "http.server", str(port)], "cwd": str(tmp_path)}
    spec = build_spec(
        {"name": "flag", "path": str(tmp_path / "flag"), "remedy": "touch it"},
        {"name": "port", "tcp": f"127.0.0.1:{port}"},
        {"name": "page", "http": f"http://127.0.0.1:{port}/flag"},
        {"name": "room", "space": {"path": str(tmp_path), "free": 1}},
        {"name": "name", "resolves": "localhost"},
    )
    spec["jobs"] = [*JOBS, late]
    with SupervisorProcess(tmp_path, spec) as pilot:
        pilot.wait_for(lambda line: line.get("event") == "gate_refused" and line["gate"] == "flag")
        pilot.wait_for_event("free", "started")
        pilot.wait_for(lambda line: line.get("event") == "gate_opened" and line["gate"] == "port")
        guarded = pilot.get_status()["jobs"][0]
        assert guarded["state"] == "waiting"
        assert "flag" in guarded["why"]["gates"]
        text = pilot.run_verb("why", "guarded").stdout
        assert f"said 'cannot read {tmp_path}/flag: No such file or directory'; touch it" in text
        assert "check flag before guarded: has not passed for" in pilot.run_verb("status").stdout
        (tmp_path / "flag").write_text("x")
        pilot.wait_for_event("guarded", "started")
        assert {gate["state"] for gate in pilot.get_status()["gates"]} == {"open"}
        assert pilot.stop() == 0


@pytest.mark.parametrize(
    ("on_failure", "reason", "code"), [("neutral", "preflight", 75), ("failed", "gate-failed", 78)]
)
def test_a_life_ends_by_a_gate(tmp_path: Path, on_failure: str, reason: str, code: int) -> None:
    """A limit that is too low ends the life with the code that the job spec chose, and the last words say why."""
    limit = {"name": "files", "limit": {"nofile": "unlimited"}, "timeout": 0, "on_failure": on_failure}
    with SupervisorProcess(tmp_path, build_spec(limit)) as pilot:
        assert pilot.wait() == code
        words = pilot.read_last_words()
        assert (words["reason"], words["exit_code"]) == (reason, code)
        assert words["detail"].startswith("check files has not passed: too low for the jobs: nofile is")
        assert pilot.list_job_output("guarded") == []
        assert not pilot.find_events("guarded")


def test_a_reload_takes_a_mended_gate(tmp_path: Path) -> None:
    """A check that asked for the wrong thing is mended by a reload, and its job starts in the same life."""
    with SupervisorProcess(tmp_path, build_spec({"name": "g", "exec": "false"})) as pilot:
        pilot.wait_for(lambda line: line.get("event") == "gate_refused")
        done = pilot.reload(build_spec({"name": "g", "exec": "true"}))
        assert done.returncode == 0, done.stderr
        pilot.wait_for_event("guarded", "started")
        plan = pilot.wait_for(lambda line: line.get("event") == "plan_adopted")
        assert plan["sections"] == ["checks"]


def test_gates_are_asked_by_hand(tmp_path: Path) -> None:
    """`check --gates` asks each check as its first job would, and prints answers and remedies; 78 blames the image."""
    jobs = [{"name": "guarded", "exec": "true", "limits": {"nofile": 200}}]
    checks = build_spec(
        {"name": "low", "limit": {"nofile": 201}, "on_failure": "failed"}, {"name": "fine", "path": str(tmp_path)}
    )["checks"]
    pilot = SupervisorProcess(tmp_path, {"jobs": [{"name": "x", "exec": "true"}]})
    with pilot:
        pilot.write_spec({"jobs": jobs, "checks": checks})
        done = pilot.run_verb("check", "--gates", str(pilot.config))
        assert done.returncode == 78, done.stdout + done.stderr
        assert "low: no, too low for the jobs: nofile is 200, needed 201" in done.stdout
        assert "  remedy: raise it by `limits` of the job" in done.stdout
        assert f"fine: yes, {tmp_path} can be read" in done.stdout
        pilot.write_spec({"jobs": jobs, "checks": checks[1:]})
        done = pilot.run_verb("check", "--gates", "-o", "json", str(pilot.config))
        assert done.returncode == 0
        assert [(gate["name"], gate["passed"]) for gate in json.loads(done.stdout)] == [("fine", True)]


@pytest.mark.real("root", "fuse")
def test_a_file_system_that_hangs_is_a_no(tmp_path: Path) -> None:
    """A process that nobody can kill hangs in the path: it is left alone, none follows, and a stop ends the life."""
    stuck = tmp_path / "stuck"
    stuck.mkdir()
    check = {"name": "stuck", "path": str(stuck), "attempt_timeout": "2s", "on_failure": "wait"}
    with mount_hanging_filesystem(stuck, takes_requests=True), SupervisorProcess(tmp_path, build_spec(check)) as pilot:
        pilot.wait_for_event("free", "started")
        pilot.wait_for(lambda line: "no answer within" in line["message"])
        pilot.wait_for(lambda line: "an earlier check still hangs there" in line["message"])
        hanging = list_children(pilot.process.pid, "child_check")
        assert len(hanging) == 1
        assert pilot.stop() == 0
    eventually(lambda: has_ended(hanging[0]), "the process that hung ends with the file system")


def has_ended(pid: int) -> bool:
    """Return True when a process is gone, or is a zombie that its new parent has not reaped."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def list_children(parent: int, text: str) -> list[int]:
    """Return the pids of the children of a process whose command line contains a text."""
    pids = [int(pid) for pid in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]
    return [pid for pid in pids if text in Path(f"/proc/{pid}/cmdline").read_text()]
