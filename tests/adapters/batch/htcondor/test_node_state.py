"""The crash of a startd under its payloads, told from an end in order."""

from __future__ import annotations

from pathlib import Path

import pytest

from autopilot.adapters.batch.htcondor import node_state
from autopilot.adapters.batch.htcondor.condor_commands import CondorCommands
from autopilot.adapters.batch.htcondor.daemons import Daemons
from autopilot.adapters.batch.htcondor.htcondor_settings import HtcondorSettings
from autopilot.machines.cues import Cue, PayloadsCrashed

BUSY, GONE = Daemons(5, 7, (8,)), Daemons(5)


@pytest.mark.parametrize(
    ("situation", "lost"),
    [
        ((("1.0",), GONE, True), ("1.0",)),
        ((("1.0",), Daemons(5, None, (8,)), True), ("1.0",)),  # its starter is about to follow
        ((("1.0",), Daemons(), True), ("1.0",)),  # the master went with it
        ((("1.0",), GONE, False), ()),  # it removes the file at an end in order
        (((), GONE, True), ()),
        ((("1.0",), BUSY, True), ()),
    ],
)
def test_a_crashed_startd_takes_its_payloads_along(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    situation: tuple[tuple[str, ...], Daemons, bool],
    lost: tuple[str, ...],
) -> None:
    """A startd that is gone while its address file is still there has crashed: its payloads are reported, once."""
    payloads, after, has_address_file = situation
    cues: list[Cue] = []
    node = node_state.NodeState(HtcondorSettings(), CondorCommands(None), cues.append)  # type: ignore[arg-type]
    node.settings = {"LOG": str(tmp_path)}
    node.daemons, node.payloads = BUSY, payloads
    if has_address_file:
        (tmp_path / ".startd_address").write_text("<10.0.0.1:9618>\n")
    monkeypatch.setattr(node_state, "find_daemons", lambda leader, own: after)
    assert node.observe_daemons() == after and node.observe_daemons() == after
    assert cues == ([PayloadsCrashed(lost, "condor_startd (pid 7) crashed or was killed")] if lost else [])
