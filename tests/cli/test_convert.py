"""`autopilot convert` writes a job spec, tells of the rest, and never destroys a file."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

OLD = {
    "consul": "consul:8500",
    "preStart": "echo prepared",
    "preStop": "echo leaving",
    "postStop": "echo swept",
    "services": [{"name": "spooler", "port": 7070, "health": "true", "poll": 1, "ttl": 9, "colour": "red"}],
}


def run_autopilot(*words: str, text: str | None = None, **env: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "autopilot", *words]
    return subprocess.run(command, check=False, input=text, capture_output=True, text=True, env=os.environ | env)


@pytest.fixture
def old(tmp_path: Path) -> Path:
    path = tmp_path / "old.json"
    path.write_text(json.dumps(OLD))
    return path


def test_the_result_passes_the_check(old: Path, tmp_path: Path) -> None:
    """The written file passes `autopilot check`; a warning on stderr has the place; the exit code is 0."""
    new = tmp_path / "new.json5"
    done = run_autopilot("convert", f"file://{old}", "-o", str(new), "--", "sleep", "60")
    assert (done.returncode, done.stdout) == (0, "")
    assert f"warning: {old}:1:" in done.stderr and "services[spooler].colour: is not carried over" in done.stderr
    checked = run_autopilot("check", str(new))
    assert checked.returncode == 0 and "no problems" in checked.stdout and "4 jobs" in checked.stdout


def test_a_file_is_never_overwritten_without_force(old: Path, tmp_path: Path) -> None:
    """A file that is there stays as it is, unless --force replaces it."""
    new = tmp_path / "new.json5"
    new.write_text("mine")
    refused = run_autopilot("convert", str(old), "-o", str(new))
    assert refused.returncode == 64 and "--force" in refused.stderr and new.read_text() == "mine"
    assert run_autopilot("convert", str(old), "-o", str(new), "--force").returncode == 0
    assert "spooler" in new.read_text() and sorted(path.name for path in tmp_path.iterdir()) == [
        "new.json5",
        "old.json",
    ]


@pytest.mark.parametrize(
    ("words", "text", "code", "says"),
    [
        (["-"], "{broken", 78, "<stdin>:1:"),
        (["-"], "", 78, "it is empty"),
        (["-"], "hello", 78, "--from"),
        (["-", "--", "x"], "[program:x]\ncommand=true", 64, "supervisord.conf names its programs itself"),
        (["-", "-o", "-"], '{"preStart": "a", "preStart": "b"}', 0, "preStart: is given twice in one object"),
        (["/nowhere/x.json"], None, 78, "/nowhere/x.json: cannot read the configuration: no such file or directory\n"),
        ([], None, 64, "FILE"),
        (["-", "--from", "upstart"], "{}", 64, "containerpilot2"),
        (["-", "--from", "containerpilot2"], "{}", 0, "MAIN-COMMAND"),
        (["-", "--from", "supervisord"], "[program:x]\ncommand=true", 0, ""),
        (["-"], '{"preStart": "{{ .STAGE }}"}', 0, "the job spec reads STAGE: set them for `autopilot check` too"),
        (
            ["-"],
            '{"services": [{"name": "BAD NAME", "port": 1, "poll": 5, "ttl": 9}]}',
            0,
            "is not complete yet: <stdout>:",
        ),
    ],
)
def test_exit_codes(words: list[str], text: str | None, code: int, says: str) -> None:
    """Unreadable input ends with 78, wrong use with 64, and doubts with 0; each is said."""
    done = run_autopilot("convert", *words, text=text)
    assert done.returncode == code and says in done.stderr and "Traceback" not in done.stderr
    assert bool(done.stdout) == (code == 0)


def test_the_result_runs(old: Path, tmp_path: Path) -> None:
    """The jobs of the result run in the order of ContainerPilot 2: prepared, main command, leaving, swept."""
    new, script = tmp_path / "new.json", tmp_path / "main.sh"
    script.write_text("#!/bin/sh\ntrap 'echo ended; exit 0' TERM\necho serving\nwhile :; do sleep 0.1; done\n")
    script.chmod(0o755)
    old.write_text(json.dumps({**OLD, "consul": "127.0.0.1:9"}))
    assert run_autopilot("convert", str(old), "-o", str(new), "--", str(script)).returncode == 0
    with subprocess.Popen(
        [sys.executable, "-m", "autopilot", "run", str(new)],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"AUTOPILOT_STATE": str(tmp_path / "state")},
    ) as process:
        assert process.stdout is not None
        said = []
        for line in process.stdout:
            words = [
                word
                for word in ("prepared", "serving", "leaving", "ended", "swept")
                if f'"{word}"' in line or line == f"{word}\n"
            ]
            said += words
            if words == ["serving"]:
                process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    assert said == ["prepared", "serving", "leaving", "ended", "swept"]
