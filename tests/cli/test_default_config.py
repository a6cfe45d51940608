"""The verbs that read a job spec agree on the one to take when none is named."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from autopilot.app import paths

pytestmark = pytest.mark.slow

SMALL = '{jobs: [{name: "main", exec: "true"}]}'


def run_verb(*words: str, **env: str) -> subprocess.CompletedProcess[str]:
    variables = {key: value for key, value in os.environ.items() if key not in ("AUTOPILOT_CONFIG", "CONTAINERPILOT")}
    command = [sys.executable, "-m", "autopilot", *words]
    return subprocess.run(command, check=False, capture_output=True, text=True, env=variables | env)


@pytest.mark.parametrize("verb", ["check", "plan"])
def test_verbs_take_the_variable(verb: str, tmp_path: Path) -> None:
    """`check` and `plan` without a file take $AUTOPILOT_CONFIG, and a named file instead of it."""
    (tmp_path / "good.json5").write_text(SMALL)
    done = run_verb(verb, AUTOPILOT_CONFIG=str(tmp_path / "good.json5"))
    assert done.returncode == 0 and done.stdout
    assert run_verb(verb, str(tmp_path / "none"), AUTOPILOT_CONFIG=str(tmp_path / "good.json5")).returncode == 78


@pytest.mark.parametrize(("present", "found"), [("ab", "a"), ("b", "b"), ("a", "a")])
def test_default_places(present: str, found: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first default place that exists is taken."""
    monkeypatch.setattr(paths, "DEFAULT_CONFIG_PATHS", (str(tmp_path / "a"), str(tmp_path / "b")))
    for name in present:
        (tmp_path / name).write_text(SMALL)
    assert paths.find_default_config({}) == str(tmp_path / found)


@pytest.mark.skipif(any(map(os.path.exists, paths.DEFAULT_CONFIG_PATHS)), reason="this machine has a job spec in /etc")
def test_without_any() -> None:
    """Without any job spec, `check` is wrong use and says where it looked."""
    done = run_verb("check")
    assert done.returncode == 64
    assert "`autopilot check CONFIG`" in done.stderr and "/etc/autopilot.json5 or /etc/autopilot.json" in done.stderr
