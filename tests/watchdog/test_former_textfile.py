"""The textfile of a former configuration is removed, so that its old figures are not reported for ever."""

from __future__ import annotations

from pathlib import Path

from autopilot_watchdog.core.memory import Memory
from autopilot_watchdog.shell.former_textfile import OUR_BEGIN, leave_textfile
from autopilot_watchdog.watchdog_metrics import write_textfile

from tests.watchdog.scenes import BEGIN, build_config


def test_former_textfile_is_removed(tmp_path: Path) -> None:
    """When the configuration names another textfile, or none, the former one is removed; once is enough."""
    first, second = str(tmp_path / "a.prom"), str(tmp_path / "b.prom")
    memory, sentence = leave_textfile(Memory(), first)
    write_textfile(build_config(metrics={"textfile": first}), memory, {}, BEGIN)
    assert Path(first).read_bytes().startswith(OUR_BEGIN) and not sentence
    assert leave_textfile(memory, first) == (memory, "") and Path(first).exists()
    memory, sentence = leave_textfile(memory, second)
    assert not sentence and not Path(first).exists() and memory.textfile == second
    memory, sentence = leave_textfile(memory, "")
    assert (memory.textfile, sentence) == ("", "")


def test_other_files_stay(tmp_path: Path) -> None:
    """A file of somebody else in that place stays; one that cannot be removed is told once."""
    path = tmp_path / "node.prom"
    path.write_text("# HELP node_load1 1m load average.\n")
    assert leave_textfile(Memory(textfile=str(path)), "") == (Memory(), "") and path.exists()
    memory, sentence = leave_textfile(Memory(textfile=str(tmp_path)), "")
    assert f"cannot remove {tmp_path}" in sentence and not memory.textfile
