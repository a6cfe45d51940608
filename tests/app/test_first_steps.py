"""The first steps of the README, as a newcomer takes them: its job spec, its commands, and what they print."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

from tests.app.harness import eventually, find_free_port

REPO = Path(__file__).parents[2]
README = (REPO / "README.md").read_text()
SPEC = (REPO / "examples" / "hello" / "autopilot.json5").read_text()
ASKING = ("status", "why", "logs")  # verbs that only look: what they show may take a moment to come


def find_block(language: str) -> str:
    """Return the README's first block of code in a language."""
    found = re.search(rf"(?ms)^```{language}\n(.*?)^```", README)
    assert found is not None
    return found[1]


def mask_values(text: str) -> str:
    """Return the text with each number, life and date as one letter, and one space for many."""
    text = re.sub(r"\b[0-9a-f]{8}\b|\w{3} \w{3} +\d+ [\d:]+( [AP]M)? \S+ \d{4}|\d+", "#", text)
    return re.sub(r" +", " ", text).strip()


def test_spec_of_the_readme() -> None:
    """The README shows the example's job spec, without the comment above it."""
    assert find_block("json5") == SPEC.partition("\n")[2]


def test_first_steps(tmp_path: Path) -> None:
    """Each command of the README's session prints what the README shows, but for numbers and dates."""
    (tmp_path / "autopilot.json5").write_text(SPEC.replace("8080", str(find_free_port())))
    environment = {**os.environ, "AUTOPILOT_STATE": str(tmp_path / "state"), "LC_ALL": "C", "PYTHONPATH": str(REPO)}

    def run(command: str) -> str:
        words = shlex.split(command)[1:]
        done = subprocess.run(
            [sys.executable, "-m", "autopilot", *words],
            env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        return done.stdout + done.stderr

    steps = re.findall(r"(?m)^\$ (.+)\n((?:(?!\$ ).*\n)*)", find_block("console"))
    assert [command.split()[1] for command, _ in steps] == ["status", "why", "signal", "logs", "why", "reload", "stop"]
    with (tmp_path / "log").open("wb") as log:
        supervisor = subprocess.Popen(
            [sys.executable, "-m", "autopilot", "run", "autopilot.json5"],
            cwd=tmp_path, env=environment, stdout=log, stderr=log,
        )  # fmt: skip
    try:
        for command, shown in steps:
            wanted = mask_values(shown)
            if command.split()[1] in ASKING:
                eventually(lambda c=command, w=wanted: mask_values(run(c)) == w, f"{command} prints {wanted!r}")
            else:
                assert mask_values(run(command)) == wanted
        assert supervisor.wait(60) == 0
    finally:
        supervisor.kill()
        supervisor.wait()
