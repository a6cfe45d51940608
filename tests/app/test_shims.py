"""The shims on a running supervisor: systemctl's answers and exit codes for scripts that know no other way."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.app.harness import SupervisorProcess, shell

pytestmark = [
    pytest.mark.slow,  # seconds each: for `make test`, not for `make check`
    pytest.mark.xdist_group("shims"),  # one supervisor for all of them
]

HEEDS_HUP = 'trap "echo read again" HUP; trap "exit 0" TERM; echo ready; while :; do sleep 1000 & wait; done'
SPEC = {
    "jobs": [
        {"name": "web", "exec": shell(HEEDS_HUP), "restarts": "unlimited"},
        {"name": "plain", "exec": ["sleep", "1000"], "restarts": "unlimited"},
        {"name": "done", "exec": ["true"]},
        {"name": "broken", "exec": shell("exit 3")},
        {"name": "missing", "exec": ["/no/such/program"]},
        {"name": "later", "exec": ["sleep", "1000"], "when": {"source": "SIGUSR2"}},
    ]
}


class Shims:
    def __init__(self, pilot: SupervisorProcess, folder: Path) -> None:
        self.pilot = pilot
        self._folder = folder
        pilot.run_verb("shims", str(folder))

    def run(self, *words: str, state: Path | None = None) -> subprocess.CompletedProcess[str]:
        path = f"{self._folder}:{os.environ['PATH']}"
        env = {**os.environ, "PATH": path, "AUTOPILOT_STATE": str(state or self.pilot.state)}
        return subprocess.run(
            [self._folder / words[0], *words[1:]], env=env, capture_output=True, text=True, timeout=60, check=False
        )

    def get_exit_code(self, *words: str) -> int:
        return self.run(*words).returncode

    def get_pid(self, job: str) -> str:
        return self.run("systemctl", "show", "-p", "MainPID", "--value", job).stdout.strip()


@pytest.fixture(scope="module")
def shims(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shims]:
    place = tmp_path_factory.mktemp("shims")
    with SupervisorProcess(place, SPEC) as pilot:
        pilot.wait_for_event("broken", "ended")
        pilot.wait_for_event("done", "ended")
        pilot.wait_for(lambda line: line["message"] == "ready")
        yield Shims(pilot, place / "bin")


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("is-active web", 0),
        ("is-active web.service", 0),
        ("--quiet is-active web", 0),
        ("is-active done", 3),
        ("is-active later", 3),
        ("is-active nobody", 4),
        ("is-active nobody web", 0),
        ("is-failed broken", 0),
        ("is-failed web", 1),
        ("is-enabled web", 0),
        ("is-enabled nobody", 4),
        ("status web", 0),
        ("status done", 3),
        ("status broken --no-pager -l", 3),
        ("status nobody", 4),
        ("start nobody", 5),
        ("stop nobody.service", 5),
        ("restart nobody", 5),
        ("try-restart nobody", 0),
        ("try-restart done", 0),
        ("reload done", 1),
        ("enable web", 0),
        ("enable nobody", 1),
        ("disable web", 1),
        ("mask web", 1),
        ("list-units", 0),
        ("is-system-running", 1),
        ("poweroff", 1),
        ("frobnicate web", 1),
        ("start", 1),
    ],
)
def test_exit_code(shims: Shims, words: str, code: int) -> None:
    """Exit codes of all verbs are those of systemctl."""
    assert shims.get_exit_code("systemctl", *words.split()) == code


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("web status", 0),
        ("done status", 3),
        ("nobody status", 4),
        ("nobody start", 5),
        ("web frobnicate", 2),
        ("web", 2),
        ("--status-all", 0),
    ],
)
def test_service_exit_code(shims: Shims, words: str, code: int) -> None:
    """`service NAME VERB` ends as LSB has it."""
    assert shims.get_exit_code("service", *words.split()) == code


@pytest.mark.parametrize(("job", "word"), [("web", "active"), ("done", "inactive"), ("broken", "failed")])
def test_is_active_says_the_state(shims: Shims, job: str, word: str) -> None:
    """The one word that scripts compare."""
    assert shims.run("systemctl", "is-active", job).stdout == f"{word}\n"


def test_restart_waits_for_another_process(shims: Shims) -> None:
    """After `service web restart` the old process is gone and another runs."""
    before = shims.get_pid("web")
    assert shims.get_exit_code("service", "web", "restart") == 0
    assert shims.get_pid("web") not in (before, "0")
    assert not Path(f"/proc/{before}").exists()


def test_stop_waits_and_start_brings_it_back(shims: Shims) -> None:
    """`systemctl stop` returns when nothing of the job is left, `start` when it runs; both are idempotent."""
    pid = shims.get_pid("plain")
    for _ in range(2):
        assert shims.get_exit_code("systemctl", "stop", "plain.service") == 0
        assert not Path(f"/proc/{pid}").exists()
    stopped = shims.run("systemctl", "is-active", "plain")
    assert (stopped.stdout, stopped.returncode) == ("inactive\n", 3)
    for _ in range(2):
        assert shims.get_exit_code("systemctl", "start", "plain") == 0
        assert shims.get_exit_code("systemctl", "is-active", "plain") == 0


def test_start_runs_what_waits_for_an_event(shims: Shims) -> None:
    """`systemctl start` does not wait for the job's `when`, as it does not wait for a timer."""
    assert shims.get_exit_code("systemctl", "start", "later") == 0
    assert shims.get_exit_code("systemctl", "is-active", "later") == 0
    assert shims.get_exit_code("systemctl", "stop", "later") == 0


def test_reload_is_a_hangup_for_who_heeds_it(shims: Shims) -> None:
    """`reload` sends SIGHUP to a process with a handler, which goes on; it refuses where SIGHUP would kill."""
    since, web, plain = len(shims.pilot.lines), shims.get_pid("web"), shims.get_pid("plain")
    assert shims.get_exit_code("systemctl", "reload", "web") == 0
    shims.pilot.wait_for(lambda line: line["message"] == "read again", since=since)
    refused = shims.run("systemctl", "reload", "plain")
    assert refused.returncode == 3 and "no handler for SIGHUP" in refused.stderr
    assert (shims.get_pid("web"), shims.get_pid("plain")) == (web, plain)


def test_reload_or_restart_restarts_the_deaf(shims: Shims) -> None:
    """`reload-or-restart` (`service NAME force-reload`) keeps who heeds SIGHUP, and restarts who does not."""
    web, plain = shims.get_pid("web"), shims.get_pid("plain")
    assert shims.get_exit_code("systemctl", "reload-or-restart", "web", "plain") == 0
    assert shims.get_pid("web") == web
    assert shims.get_pid("plain") != plain
    assert shims.get_exit_code("service", "web", "force-reload") == 0
    assert shims.get_pid("web") == web


def test_status_shows_state_and_last_lines(shims: Shims) -> None:
    """`systemctl status` has what a person looks for: state, pid, and the last lines of the log."""
    shown = shims.run("systemctl", "status", "web", "-n", "3").stdout
    assert "Active: active (running)" in shown
    assert f"Main PID: {shims.get_pid('web')}" in shown
    assert "ready" in shown or "read again" in shown


def test_start_of_what_cannot_run_fails(shims: Shims) -> None:
    """A start whose program is missing or ends with an error at once is no success."""
    for job in ("missing", "broken"):
        started = shims.run("systemctl", "start", job)
        assert started.returncode == 1 and f"autopilot logs {job}" in started.stderr
    assert shims.pilot.run_verb("start", "missing").returncode == 1


def test_enable_says_what_enables(shims: Shims) -> None:
    """`enable` has nothing to do, `disable` cannot: both say what does it instead."""
    assert "job spec" in shims.run("systemctl", "enable", "web").stderr
    assert "remove the job from the spec" in shims.run("systemctl", "disable", "web").stderr


def test_daemon_reload_takes_the_job_spec_anew(shims: Shims) -> None:
    """`systemctl daemon-reload` is `autopilot reload`: a new job is there, the others keep their process; a job spec
    with a problem changes nothing and is an error.
    """
    web = shims.get_pid("web")
    new = {"name": "new", "exec": ["sleep", "1000"]}
    config = shims.pilot.place / "autopilot.json5"
    config.write_text(json.dumps({"jobs": [*SPEC["jobs"], new]}))
    assert shims.get_exit_code("systemctl", "daemon-reload") == 0
    assert shims.get_exit_code("systemctl", "is-active", "new") == 0
    config.write_text("{")
    refused = shims.run("systemctl", "daemon-reload")
    assert refused.returncode == 1 and "autopilot.json5" in refused.stderr
    assert shims.get_pid("web") == web


def test_without_supervisor(shims: Shims, tmp_path: Path) -> None:
    """Without a supervisor (an image's build) state is unknown (4), and nothing can be started (1)."""
    codes = [
        shims.run("systemctl", *words.split(), state=tmp_path).returncode
        for words in ("status web", "is-active web", "start web", "daemon-reload")
    ]
    assert codes == [4, 4, 1, 1]


def write_shims(folder: Path, *options: str, path: str = "/usr/bin") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "autopilot", "shims", str(folder), *options],
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )


def test_never_over_another_systemctl(tmp_path: Path) -> None:
    """A systemctl that is not ours stays, unless --replace is said; ours are written again."""
    (tmp_path / "systemctl").write_text("#!/bin/sh\n# the real one\n")
    refused = write_shims(tmp_path)
    assert refused.returncode == 1 and "another command is there" in refused.stderr
    assert not (tmp_path / "service").exists()
    assert write_shims(tmp_path, "--replace").returncode == 0
    assert write_shims(tmp_path).returncode == 0
    assert os.access(tmp_path / "systemctl", os.X_OK)


def test_installing_the_package_writes_no_shim() -> None:
    """`pip install` puts no systemctl anywhere: only the verb does, where it is told to."""
    scripts = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]["scripts"]
    assert not {"systemctl", "service"} & scripts.keys()
