"""The shim and a real systemctl under a real systemd, asked the same."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.dockerd import start_docker_daemon
from lab.systemd_container import SystemdContainer, start_systemd
from tests.app.harness import SupervisorProcess, eventually, shell

pytestmark = [pytest.mark.real("docker", "systemd"), pytest.mark.slow]

COMMANDS = {"web": "sleep 1000", "done": "true", "broken": "sh -c 'exit 3'"}
SPEC = {
    "jobs": [
        {"name": "web", "exec": ["sleep", "1000"]},
        {"name": "done", "exec": ["true"]},
        {"name": "broken", "exec": shell("exit 3")},
    ]
}
QUESTIONS = """
is-active web | is-active web.service | is-active done | is-active broken | is-active done web
is-failed web | is-failed broken | is-failed nobody | status web | status done | status broken | status nobody
start nobody | stop nobody | restart nobody | reload web | try-restart done | show -p ActiveState --value web
show -p ActiveState --value nobody | show -p LoadState --value nobody | show -p SubState --value web
is-enabled nobody | enable nobody | disable nobody | kill nobody | stop web | is-active web | start web
is-active web | restart web | try-restart web | stop web | stop web | status web | show -p SubState --value web
"""


@pytest.fixture
def real() -> Iterator[SystemdContainer]:
    with start_docker_daemon() as docker, start_systemd(docker.engine, {}) as booted:
        for name, command in COMMANDS.items():
            path = f"/etc/systemd/system/{name}.service"
            booted.write_file(path, f"[Service]\nExecStart={command}\n[Install]\nWantedBy=multi-user.target\n")
        booted.run("systemctl", "daemon-reload")
        booted.run("systemctl", "start", *COMMANDS)
        eventually(lambda: booted.run("systemctl", "is-failed", "broken", check=False) == "failed\n", "broken failed")
        yield booted


def test_answers_as_systemctl(real: SystemdContainer, tmp_path: Path) -> None:
    """Exit code and, of the verbs that print one word, the word: the shim's are systemctl's own."""
    with SupervisorProcess(tmp_path, SPEC) as pilot:
        pilot.wait_for_event("broken", "ended")
        pilot.run_verb("shims", str(tmp_path / "bin"))
        different = {}
        for question in filter(None, map(str.strip, QUESTIONS.replace("\n", "|").split("|"))):
            theirs = real.run("sh", "-c", f"systemctl {question}; echo $?", check=False).splitlines()
            ours = _run_shim(pilot, tmp_path / "bin", question)
            if not question.startswith(("is-", "show")):
                theirs, ours = theirs[-1:], ours[-1:]
            if theirs != ours:
                different[question] = theirs, ours
        assert different == {}


def _run_shim(pilot: SupervisorProcess, folder: Path, question: str) -> list[str]:
    asked = subprocess.run(
        ["sh", "-c", f"{folder}/systemctl {question}; echo $?"],
        env={**os.environ, "AUTOPILOT_STATE": str(pilot.state)},
        capture_output=True,
        text=True,
        check=True,
    )
    return asked.stdout.splitlines()
