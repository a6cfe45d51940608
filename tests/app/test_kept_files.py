"""Test that each file of the state directory is made again after a cleaner of temporary files has removed it."""

from __future__ import annotations

import fcntl
import os
import shutil
from pathlib import Path

import pytest

from autopilot.app.kept_files import KeptFiles
from tests.app.harness import VICTIM, SupervisorProcess, eventually, find_free_port

AGENT = "#!/bin/sh\nexec sleep 600\n"


def list_files(state):
    """Return the content of each file below `state` by its path; None for a socket or a directory."""
    return {
        str(path.relative_to(state)): path.read_bytes() if path.is_file() else None
        for path in state.rglob("*")
        if not path.name.startswith(".")
    }


def drop_times(files):
    """Leave out the last words, which have the time of their writing."""
    return {name: content for name, content in files.items() if name != "last-words.json"}


@pytest.mark.slow
@pytest.mark.parametrize("whole", [False, True])
def test_every_file_of_the_state_directory(tmp_path, whole):
    """Each file that a life keeps in its state directory is made again, with its content, and a line names it."""
    program, source, state = tmp_path / "agent", tmp_path / "source", tmp_path / "state"
    program.write_text(AGENT)
    program.chmod(0o755)
    source.write_text("rendered")
    state.mkdir()
    (state / "last-words.json").write_text('{"format": 1}')  # of the life before
    spec = {
        "jobs": [VICTIM],
        "consul": f"127.0.0.1:{find_free_port()}",
        "consul_agent": {"exec": str(program), "join": ["127.0.0.1"]},
        "templates": [{"source": str(source), "destination": str(state / "templates" / "secret"), "mode": "0600"}],
    }
    with SupervisorProcess(tmp_path, spec) as pilot:
        pilot.wait_for_event("victim", "started")
        written = (state / "templates" / "secret", state / "last-words.json")
        eventually(lambda: all(file.exists() for file in written), "the files are written")
        before = list_files(state)
        assert {"lock", "last-words.json", "previous-words.json", "autopilot.sock", "autopilot.sock.lock"} <= set(
            before
        )
        assert {"consul/agent.json", "consul/data", "templates/secret"} <= set(before)
        if whole:
            shutil.rmtree(state)
        else:
            for name in before:
                if (state / name).is_dir():
                    shutil.rmtree(state / name)
                elif (state / name).exists():
                    (state / name).unlink()
        lines = ("file_remade", "control_socket_remade")
        for name in before:
            if name not in ("consul", "templates"):  # come with their files
                path = str(state / name)
                pilot.wait_for(lambda line, path=path: line.get("event") in lines and path in line["message"])
        assert drop_times(list_files(state)) == drop_times(before)
        assert (state / "templates" / "secret").stat().st_mode & 0o777 == 0o600
        assert (state / "consul" / "agent.json").stat().st_mode & 0o777 == 0o600
        with (state / "lock").open() as lock, pytest.raises(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        assert pilot.run_verb("ping").returncode == 0


@pytest.mark.slow
def test_a_removed_log_is_opened_again(tmp_path):
    """Lines go on in a new file when the log is removed, without SIGUSR1, and a line says so."""
    log = tmp_path / "log"
    with SupervisorProcess(tmp_path, {"jobs": [VICTIM], "logging": {"output": str(log)}}):
        eventually(log.exists, "the log is there")
        log.unlink()
        eventually(lambda: log.exists() and "file_remade" in log.read_text(), "the log is there again")


def test_a_file_that_cannot_be_made(tmp_path):
    """A file that cannot be made again is said once, tried at each look, and said again when it is there."""
    told: list[tuple[str, bool]] = []
    kept = KeptFiles(lambda path, error: told.append((path, error is None)))
    path = tmp_path / "folder" / "file"
    kept.keep(path, lambda: bool(path.write_text("x")))
    kept.restore_missing()
    kept.restore_missing()
    assert told == [(str(path), False)]
    path.parent.mkdir()
    kept.restore_missing()
    kept.restore_missing()
    assert told == [(str(path), False), (str(path), True)]


def test_a_lock_that_another_has_taken(tmp_path):
    """A lock that another supervisor has taken meanwhile is not broken, and a foreign file in its place is locked."""
    path = str(tmp_path / "lock")
    ours = os.open(path, os.O_RDWR | os.O_CREAT)
    fcntl.flock(ours, fcntl.LOCK_EX)
    errors: list[OSError | None] = []
    kept = KeptFiles(lambda _, error: errors.append(error))
    kept.keep_lock(path, ours, lambda _: None)
    kept.restore_missing()
    assert errors == []
    os.unlink(path)
    with Path(path).open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        kept.restore_missing()
        assert isinstance(errors[0], BlockingIOError)
    kept.restore_missing()
    kept.restore_missing()
    assert errors[1:] == [None]
    assert Path(path).read_text() == f"{os.getpid()}\n"
    with Path(path).open() as lock, pytest.raises(BlockingIOError):
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
