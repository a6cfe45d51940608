"""The client of `containerpilot` finds the supervisor of both programs."""

from __future__ import annotations

from pathlib import Path

import pytest

from autopilot.containerpilot import control_flags


@pytest.mark.parametrize(
    ("present", "found"),
    [(["cp.socket", "autopilot.sock"], "cp.socket"), (["autopilot.sock"], "autopilot.sock"), ([], "cp.socket")],
)
def test_sockets(present: list[str], found: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ContainerPilot's socket comes first; that of `autopilot run` is taken where only it exists."""
    for name in present:
        (tmp_path / name).touch()
    for name in ("AUTOPILOT_SOCKET", "AUTOPILOT_CONFIG", "CONTAINERPILOT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AUTOPILOT_STATE", str(tmp_path))
    monkeypatch.setattr(control_flags, "CONTAINERPILOT_SOCKET_PATH", str(tmp_path / "cp.socket"))
    assert control_flags._find_socket_path(None) == str(tmp_path / found)
