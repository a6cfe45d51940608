"""The folder of a slot belongs to root inside of the container, also with a rootless engine; else a sentence tells."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from autopilot_watchdog.engine.engine_registry import create_engine
from autopilot_watchdog.shell.folder_owner import give_folder

OTHER_USER = 54321


def test_own_folder_stays(tmp_path: Path) -> None:
    """A folder that the right user has already, and one for real root, are left alone."""
    before = tmp_path.stat()
    assert give_folder(tmp_path, before.st_uid) == "" and give_folder(tmp_path, 0) == ""
    assert tmp_path.stat().st_mode == before.st_mode and tmp_path.stat().st_uid == before.st_uid


def test_folder_that_cannot_be_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the right to give the folder away there is a sentence with the remedy."""

    def refuse(*arguments: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "chown", refuse)
    assert "is rootless" in give_folder(tmp_path, OTHER_USER) and "CAP_CHOWN" in give_folder(tmp_path, OTHER_USER)


def test_user_of_an_engine(tmp_path: Path) -> None:
    """Root inside of a container is the owner of the engine's socket; without a socket it is taken to be ourselves."""
    socket = tmp_path / "podman.sock"
    engine = create_engine("podman", str(socket), "owner")
    assert engine.find_container_root() == os.getuid()
    socket.touch()
    assert engine.find_container_root() == socket.stat().st_uid


@pytest.mark.real("root")
def test_folder_of_a_rootless_engine(tmp_path: Path) -> None:
    """Root gives the folder to the engine's user, and its own group can still write it."""
    assert give_folder(tmp_path, OTHER_USER) == ""
    found = tmp_path.stat()
    assert found.st_uid == OTHER_USER and found.st_mode & 0o777 == 0o775
