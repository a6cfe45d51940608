"""Wrong use of the command line `autopilot-watchdog`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

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
