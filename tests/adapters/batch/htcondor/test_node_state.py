"""The losses that a node reports, from what its processes and files show."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from autopilot.adapters.batch.htcondor import node_state
from autopilot.adapters.batch.htcondor.condor_commands import CondorCommands
from autopilot.adapters.batch.htcondor.daemons import Daemons
from autopilot.adapters.batch.htcondor.htcondor_settings import HtcondorSettings
from autopilot.adapters.batch.htcondor.node_monitor import read_last_log_error
from autopilot.machines.cues import Cue, PayloadsCrashed

BUSY, STARTER_GONE, GONE = Daemons(5, 7, (8,)), Daemons(5, 7), Daemons(5)
STARTD_CRASHED = "condor_startd (pid 7) crashed or was killed"
IN_LIMBO = f"{STARTD_CRASHED}; their queue may show them as running until their lease ends"
GIVEN_BACK = f"{STARTD_CRASHED}; they were given back to their queue"
STARTER_KILLED = "condor_starter (pid 8) was ended by signal 9; its startd tells their queue, unless it ends at once"
KILLED_LINE = "11/28/26 08:39:48 Starter pid 8 died on signal 9 (signal 9 (Killed))\n"
EXITED_LINE = "11/28/26 08:39:48 Starter pid 8 exited with status 0\n"


class ObservedNode:
    """A node with one payload, its address file and its directory; a test sets what the process table shows."""

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.path, self._monkeypatch = path, monkeypatch
        self.cues: list[Cue] = []
        self.state = node_state.NodeState(HtcondorSettings(), CondorCommands(None), self.cues.append)  # type: ignore[arg-type]
        self.state.settings = {"LOG": str(path), "EXECUTE": str(path)}
        (path / ".startd_address").write_text("<10.0.0.1:9618>\n")
        (path / "dir_8").mkdir()
        (path / "dir_8" / ".job.ad").write_text("ClusterId = 1\nProcId = 0\n")

    def observe(self, *looks: tuple[float, Daemons]) -> None:
        """Observe these daemons, one after the other, at these times."""
        for now, daemons in looks:
            self._monkeypatch.setattr(node_state, "find_daemons", lambda leader, own, found=daemons: found)
            self.state.refresh(now)

    def watch_end_of_master(self, now: float, remaining: Daemons) -> None:
        """Let condor_master end, and these daemons remain."""
        self._monkeypatch.setattr(node_state, "find_daemons", lambda leader, own: remaining)
        self.state.record_master_end(now)

    def remove_payload_directory(self) -> None:
        (self.path / "dir_8" / ".job.ad").unlink()
        (self.path / "dir_8").rmdir()

    def write_log(self, text: str) -> None:
        (self.path / "StartLog").write_text(text)

    def list_causes(self) -> list[str]:
        return [cue.cause for cue in self.cues if isinstance(cue, PayloadsCrashed) and cue.payloads == ("1.0",)]


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ObservedNode:
    """A node with one payload."""
    return ObservedNode(tmp_path, monkeypatch)


@pytest.mark.parametrize(
    ("after", "files", "log", "causes"),
    [
        (GONE, {".startd_address", "dir_8"}, "", [IN_LIMBO]),
        (GONE, {".startd_address"}, "", [GIVEN_BACK]),  # its starter ended in order
        (Daemons(), {".startd_address", "dir_8"}, "", [IN_LIMBO]),  # the master went with it
        (Daemons(5, 77), {".startd_address", "dir_8"}, "", [IN_LIMBO]),  # another startd runs already
        (GONE, {".startd_address"}, EXITED_LINE, []),  # the payload was over before
        (GONE, set(), "", []),  # a startd that ends in order removes its file
        (STARTER_GONE, {".startd_address"}, KILLED_LINE, [STARTER_KILLED]),
        (STARTER_GONE, {".startd_address"}, EXITED_LINE, []),
        (STARTER_GONE, {".startd_address"}, "", []),
        (GONE, set(), KILLED_LINE, [STARTER_KILLED]),  # a drain: the startd told of it, then ended in order
        (BUSY, {".startd_address", "dir_8"}, KILLED_LINE, []),  # an earlier starter of that pid
    ],
)
def test_losses(node: ObservedNode, after: Daemons, files: set[str], log: str, causes: list[str]) -> None:
    """Each payload that did not end in order is reported once, with the cause."""
    node.observe((0, BUSY))
    if "dir_8" not in files:
        node.remove_payload_directory()
    if ".startd_address" not in files:
        (node.path / ".startd_address").unlink()
    node.write_log(log)
    node.observe((1, after), (2, after), (100, after))
    assert node.list_causes() == causes


def test_a_late_witness(node: ObservedNode) -> None:
    """A startd that writes its line only later is waited for, within a bound."""
    node.observe((0, BUSY), (1, STARTER_GONE))
    assert node.state.is_unsettled(1) and not node.list_causes()
    node.write_log(KILLED_LINE)
    node.observe((3, STARTER_GONE))
    assert node.list_causes() == [STARTER_KILLED] and not node.state.is_unsettled(3)
    node.write_log("")
    node.observe((4, BUSY), (5, STARTER_GONE), (30, STARTER_GONE))
    assert node.list_causes() == [STARTER_KILLED] and not node.state.is_unsettled(30)


def test_a_starter_that_outlives_its_startd_for_a_moment(node: ObservedNode) -> None:
    """The payloads of a crashed startd are judged when their starters are gone, by the directory that is left."""
    orphan = Daemons(5, None, (8,))
    node.observe((0, BUSY), (1, orphan), (2, orphan))
    assert not node.list_causes()
    node.remove_payload_directory()
    node.observe((3, GONE))
    assert node.list_causes() == [GIVEN_BACK]


def test_a_killed_master(node: ObservedNode) -> None:
    """The payloads of a killed condor_master count, although we give them back."""
    node.observe((0, BUSY))
    node.watch_end_of_master(1, Daemons(None, 7, (8,)))
    assert node.list_causes() == ["condor_master (pid 5) crashed or was killed; they were given back to their queue"]
    node.write_log(EXITED_LINE)
    node.remove_payload_directory()
    node.observe((2, Daemons(None, 7)), (10, Daemons()))
    assert node.list_causes() == ["condor_master (pid 5) crashed or was killed; they were given back to their queue"]


def test_a_master_that_ends_after_its_startd_was_killed(node: ObservedNode) -> None:
    """The payloads whose starters still live are reported before the end of condor_master can end the life."""
    node.observe((0, BUSY), (1, Daemons(5, None, (8,))))
    assert not node.list_causes()
    node.watch_end_of_master(2, Daemons(None, None, (8,)))
    assert node.list_causes() == [GIVEN_BACK]
    node.observe((3, Daemons()), (4, Daemons()))
    assert node.list_causes() == [GIVEN_BACK]


def test_a_master_that_ends_in_order(node: ObservedNode) -> None:
    """No payload counts when condor_master and its startd end in order, after an eviction."""
    node.observe((0, BUSY))
    node.state.evicting = True
    node.write_log(EXITED_LINE)
    node.observe((1, STARTER_GONE))
    (node.path / ".startd_address").unlink()
    node.watch_end_of_master(2, Daemons())
    node.observe((3, Daemons()))
    assert not node.list_causes()


def test_a_crash_of_our_own_eviction(node: ObservedNode) -> None:
    """A starter that crashes at our SIGTERM belongs to the ordered eviction; a SIGKILL is never ours."""
    node.write_log("11/28/26 08:39:48 Starter pid 8 died on signal 11 (signal 11 (Segm.))\n")
    node.observe((0, BUSY))
    node.state.evicting = True
    node.observe((1, STARTER_GONE), (2, BUSY))
    assert not node.list_causes()
    node.write_log(KILLED_LINE)
    node.observe((3, STARTER_GONE))
    assert node.list_causes() == [STARTER_KILLED]


def test_a_log_that_is_no_file(node: ObservedNode) -> None:
    """A pipe in the place of StartLog is not opened for its last error; the reader is told where to look."""
    os.mkfifo(node.path / "StartLog")
    assert read_last_log_error(node.state) == f"see {node.path / 'StartLog'}"
