"""The audit log's file: open while a verb works, and closed after it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from autopilot_watchdog.cli.main import main
from click.testing import CliRunner

from tests.watchdog.scenes import IMAGE


def list_open_files(folder: Path) -> list[str]:
    """Return the files below a folder that this process has open."""
    links = [Path(f"/proc/self/fd/{number}") for number in os.listdir("/proc/self/fd")]
    names = [os.readlink(link) for link in links if link.is_symlink()]
    return [name for name in names if name.startswith(f"{folder}/")]


@pytest.mark.parametrize(
    ("words", "status"),
    [(["pause"], 0), (["cordon"], 0), (["retry"], 0), (["run"], 75), (["run", "--now"], 75), (["drain", "--host"], 75)],
)
def test_no_file_stays_open_after_a_verb(tmp_path: Path, words: list[str], status: int) -> None:
    """A verb that writes to the audit log closes it, also when it ends with an error."""
    config = tmp_path / "wd.json"
    document = {
        "state": str(tmp_path / "state"),
        "slots": [{"name": "wn-NN", "image": IMAGE}],
        "engines": {"docker": str(tmp_path / "none.sock")},
        "fitness": {"free_disk": 0},
    }
    config.write_text(json.dumps(document))
    done = CliRunner().invoke(main, [words[0], "--config", str(config), *words[1:]])
    assert done.exit_code == status, done.output
    assert (tmp_path / "state/audit.jsonl").read_text()
    assert not list_open_files(tmp_path)
