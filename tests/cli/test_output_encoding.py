"""The verbs write UTF-8, whatever encoding the caller's environment asks Python for."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-16"])
@pytest.mark.parametrize(("verb", "stream"), [("check", "stdout"), ("run", "stderr")])
def test_any_encoding(verb: str, stream: str, encoding: str, tmp_path: Path) -> None:
    """A problem whose place has other characters is reported, and ends no verb with a traceback."""
    config = tmp_path / "spec.json5"
    config.write_text("{jobs: [{name: '\u2603', exec: 'true', user: 'm\u00fcller'}]}", encoding="utf-8")
    environ = {**os.environ, "PYTHONIOENCODING": encoding, "AUTOPILOT_STATE": str(tmp_path / "state")}
    command = [sys.executable, "-m", "autopilot", verb, str(config)]
    done = subprocess.run(command, check=False, capture_output=True, env=environ, timeout=300)
    assert done.returncode == 78
    assert 'jobs[\u2603].user: cannot be "m\u00fcller"'.encode() in getattr(done, stream)
