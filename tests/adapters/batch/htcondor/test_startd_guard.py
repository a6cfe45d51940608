"""The program between condor_master and the startd, with real processes in the daemons' places."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from autopilot.adapters.batch.htcondor import startd_guard
from autopilot.adapters.batch.htcondor.guard_file import build_program, write_guard
from tests.app.harness import eventually

LIMIT_S = 60.0
# starts a starter as HTCondor does, marked by its ancestor's pid, and then what the test says
STARTD = """#!/bin/sh
cp {sleep} {folder}/condor_starter
env --default-signal=QUIT {option} "_CONDOR_ANCESTOR_$$=x" {folder}/condor_starter 600 &
echo $$ $! > {folder}/pids.new && mv {folder}/pids.new {folder}/pids
trap 'echo HUP > {folder}/signal' HUP
while [ ! -e {folder}/go ]; do sleep 0.05; done
{then}
"""


class GuardedStartd:
    """A guard whose startd is a shell script."""

    def __init__(self, folder: Path, then: str = "", option: str = "") -> None:
        sleep = subprocess.run(["sh", "-c", "command -v sleep"], capture_output=True, text=True, check=True).stdout
        script = folder / "startd"
        script.write_text(STARTD.format(sleep=sleep.strip(), folder=folder, then=then, option=option))
        script.chmod(0o755)
        self.guard = subprocess.Popen([write_guard(folder, str(script)), "-f"])
        eventually((folder / "pids").exists, "the startd runs", LIMIT_S)
        self.startd, self.starter = map(int, (folder / "pids").read_text().split())
        eventually(lambda: read_name(self.starter) == "condor_starter", "the starter runs", LIMIT_S)
        if then:
            (folder / "go").touch()

    def close(self) -> None:
        for pid in (self.startd, self.starter):
            if is_alive(pid):
                os.kill(pid, signal.SIGKILL)
        self.guard.kill()
        self.guard.wait()


def read_name(pid: int) -> str:
    return Path(f"/proc/{pid}/comm").read_text().strip()


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z"
    except OSError:
        return False


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., GuardedStartd]]:
    """Start a guarded startd; it is gone at the end."""
    started: list[GuardedStartd] = []

    def start_one(*words: str) -> GuardedStartd:
        started.append(GuardedStartd(tmp_path, *words))
        return started[-1]

    yield start_one
    for one in started:
        one.close()


def test_a_killed_startd(start: Callable[..., GuardedStartd]) -> None:
    """The guard ends by the startd's own signal, and only after the starters that outlived the startd."""
    node = start()
    os.kill(node.startd, signal.SIGKILL)
    assert node.guard.wait(LIMIT_S) == -signal.SIGKILL
    assert not is_alive(node.starter)


def test_a_starter_that_does_not_obey(start: Callable[..., GuardedStartd]) -> None:
    """A starter that ignores SIGTERM gets SIGQUIT; the news of the startd's end waits for it."""
    node = start("", "--ignore-signal=TERM")
    os.kill(node.startd, signal.SIGKILL)
    assert node.guard.wait(LIMIT_S) == -signal.SIGKILL
    assert not is_alive(node.starter)


@pytest.mark.parametrize("code", [0, 44, 99])
def test_an_end_in_order(start: Callable[..., GuardedStartd], code: int) -> None:
    """Exit statuses are passed on: condor_master reads them."""
    node = start(f"kill $!; wait $!; exit {code}")
    assert node.guard.wait(LIMIT_S) == code


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGABRT, signal.SIGTERM])
def test_a_crash(start: Callable[..., GuardedStartd], number: signal.Signals) -> None:
    """The guard ends by the signal that ended the startd."""
    node = start(f"kill $!; wait $!; kill -{number.value} $$; sleep 600")
    assert node.guard.wait(LIMIT_S) == -number


def test_signals_are_passed_on(start: Callable[..., GuardedStartd], tmp_path: Path) -> None:
    """condor_master signals the guard; the startd acts on it."""
    node = start()
    node.guard.send_signal(signal.SIGHUP)
    eventually((tmp_path / "signal").exists, "the startd has got it", LIMIT_S)
    node.guard.send_signal(signal.SIGUSR1)
    assert node.guard.wait(LIMIT_S) == -signal.SIGUSR1


def test_starters_of_others_are_left_alone(start: Callable[..., GuardedStartd], tmp_path: Path) -> None:
    """A process of that name without the startd's mark is no starter of this startd."""
    node = start()
    other = subprocess.Popen([tmp_path / "condor_starter", "600"])
    try:
        assert startd_guard.list_starters(node.startd) == [node.starter]
        os.kill(node.startd, signal.SIGKILL)
        node.guard.wait(LIMIT_S)
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


def test_the_guard_has_a_name(start: Callable[..., GuardedStartd]) -> None:
    """The observation finds the guard by its name."""
    node = start()
    eventually(lambda: read_name(node.guard.pid) == startd_guard.NAME, "it has named itself", LIMIT_S)


def test_a_startd_that_cannot_be_started(tmp_path: Path) -> None:
    """The guard ends with 127, as a shell would."""
    assert subprocess.run([write_guard(tmp_path, "/nowhere/condor_startd")], check=False).returncode == 127


@pytest.mark.parametrize("path", ["/a b/python", "/a$b", '/a"b', "/a`b`", "/a\\b"])
def test_paths_that_a_shell_would_read_otherwise(path: str) -> None:
    """Such a path is refused: the guard's second line is read by a shell."""
    with pytest.raises(ValueError, match="characters"):
        build_program("", path, "/usr/sbin/condor_startd")
    with pytest.raises(ValueError, match="characters"):
        build_program("", "/usr/bin/python3", path)


def test_time_of_the_end(start: Callable[..., GuardedStartd], monkeypatch: pytest.MonkeyPatch) -> None:
    """A starter that never ends is not waited for longer than the stated time."""
    node = start()
    monkeypatch.setattr(startd_guard, "_send_signal", lambda *_: None)
    monkeypatch.setattr(startd_guard, "TOTAL_TIMEOUT_S", 0.1)
    began = time.monotonic()
    startd_guard.end_starters(node.startd)
    assert time.monotonic() - began >= 0.1
    assert is_alive(node.starter)
