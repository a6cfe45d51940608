"""Wrong use of the command line `autopilot-watchdog`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from autopilot_watchdog.cli.main import main
from click.testing import CliRunner

from tests.watchdog.scenes import IMAGE

WRONG_USES = [
    [],
    ["--nope"],
    ["nope"],
    ["status", "--nope"],
    ["status", "-o", "nope"],
    ["status", "--config"],
    ["pin"],
    ["exec", "wn-01"],
    ["drain"],
    ["drain", "wn-01", "--timeout", "5s"],
    ["logs", "wn-01", "--follow", "--life", "1"],
    ["watch", "--every", "nope"],
    ["simulate", "--hosts", "nope"],
    ["check", "one.json", "--config", "another.json"],
    ["completion", "tcsh"],
]


@pytest.mark.parametrize("words", WRONG_USES, ids=" ".join)
def test_wrong_use_ends_with_64(words: list[str], tmp_path: Path) -> None:
    """Each kind of wrong use ends with 64 and prints its reason or the help to standard error."""
    config = tmp_path / "watchdog.json"
    slots = f'[{{"name": "wn-NN", "image": "{IMAGE}"}}]'
    config.write_text(f'{{"host": "h1", "state": "{tmp_path}/state", "slots": {slots}}}')
    done = subprocess.run(
        [sys.executable, "-m", "autopilot_watchdog", *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env={"AUTOPILOT_WATCHDOG_CONFIG": str(config), "PYTHONPATH": ":".join(sys.path)},
    )
    assert done.returncode == 64, done.stdout + done.stderr
    assert done.stderr.startswith(("Usage: ", "Error: ")) and not done.stdout


@pytest.mark.parametrize(
    ("name", "proposed"),
    [("adop", ["adopt"]), ("quarantin", ["quarantine"]), ("simulat", ["simulate"]), ("xyzzy", [])],
)
def test_a_mistyped_verb_is_answered_by_those_it_resembles(name: str, proposed: list[str]) -> None:
    """The message about an unknown verb proposes the verbs that the name resembles, and only those."""
    output = CliRunner().invoke(main, [name]).output
    assert f"No such command '{name}'" in output
    assert [verb for verb in main.list_commands(None) if f"'{verb}'" in output] == proposed  # type: ignore[arg-type]


@pytest.mark.parametrize("words", [["FILE"], ["-c", "FILE"], ["FILE", "-c", "FILE"], []], ids=" ".join)
def test_check_takes_the_file_in_every_way(words: list[str], tmp_path: Path) -> None:
    """`check` checks the FILE that it is given, else the one of the variable, and never a second one."""
    given, default = tmp_path / "given.json", tmp_path / "default.json"
    given.write_text(f'{{"host": "h1", "slots": [{{"name": "given-NN", "image": "{IMAGE}"}}]}}')
    default.write_text("{" if words else given.read_text())
    words = [str(given) if word == "FILE" else word for word in words]
    done = CliRunner().invoke(main, ["check", *words], env={"AUTOPILOT_WATCHDOG_CONFIG": str(default)})
    assert done.exit_code == 0 and "given-01" in done.output, done.output


@pytest.mark.parametrize("name", ["bash", "zsh", "fish"])
def test_completion_for_every_shell(name: str) -> None:
    """There is a completion script for each of the three shells, and it asks the command itself."""
    assert f"_AUTOPILOT_WATCHDOG_COMPLETE={name}_complete" in CliRunner().invoke(main, ["completion", name]).output
    root = {"_AUTOPILOT_WATCHDOG_COMPLETE": "bash_complete", "COMP_WORDS": "autopilot-watchdog quar", "COMP_CWORD": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "autopilot_watchdog"],
        env=root | {"PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["plain,quarantine"]
