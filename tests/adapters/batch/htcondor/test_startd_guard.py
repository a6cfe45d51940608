"""The program between condor_master and the startd, with real processes in the daemons' places."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from autopilot.adapters.batch.htcondor import startd_guard
from autopilot.adapters.batch.htcondor.guard_file import build_program, write_guard
from tests.app.harness import eventually

LIMIT_S = 60.0
# starts a starter, and does as the test says once it may
STARTD = """#!/bin/sh
trap 'echo HUP > {folder}/signal' HUP
cp {sleep} {folder}/condor_starter
env --default-signal=QUIT {option} {folder}/condor_starter 600 &
echo $$ $! > {folder}/pids.new && mv {folder}/pids.new {folder}/pids
while [ ! -e {folder}/go ]; do sleep 0.05; done
{then}
"""


class GuardedStartd:
    """A guard whose startd is a shell script."""

    def __init__(self, folder: Path, stack: ExitStack, then: str = "", option: str = "") -> None:
        sleep = subprocess.run(["sh", "-c", "command -v sleep"], capture_output=True, text=True, check=True).stdout
        script = folder / "condor_startd"
        script.write_text(STARTD.format(sleep=sleep.strip(), folder=folder, then=then, option=option))
        script.chmod(0o755)
        write_guard(folder / startd_guard.NAME, str(script))
        self.guard = subprocess.Popen([folder / startd_guard.NAME, "-f"])
        self.startd = self.starter = 0
        stack.callback(self.close)
        eventually((folder / "pids").exists, "the startd runs", LIMIT_S)
        self.startd, self.starter = map(int, (folder / "pids").read_text().split())
        eventually(lambda: read_name(self.starter) == "condor_starter", "the starter runs", LIMIT_S)
        if then:
            (folder / "go").touch()

    def close(self) -> None:
        for pid in (self.startd, self.starter):
            if pid and is_alive(pid):
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
    with ExitStack() as stack:
        yield lambda *words: GuardedStartd(tmp_path, stack, *words)


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


def test_starters_of_a_live_startd_are_left_alone(start: Callable[..., GuardedStartd]) -> None:
    """A starter is to be ended once its startd is dead, whether that is reaped or not."""
    node = start()
    assert node.starter not in startd_guard.list_starters()
    node.guard.send_signal(signal.SIGSTOP)  # it neither reaps nor ends anything
    os.waitid(os.P_PID, node.guard.pid, os.WSTOPPED | os.WNOWAIT)
    os.kill(node.startd, signal.SIGKILL)
    eventually(lambda: node.starter in startd_guard.list_starters(), "the starter is an orphan", LIMIT_S)
    node.guard.send_signal(signal.SIGCONT)
    node.guard.wait(LIMIT_S)
    assert not is_alive(node.starter)


@pytest.mark.real("root")
def test_a_payload_is_no_starter(tmp_path: Path) -> None:
    """A job of another user may call itself a starter: it is not signalled."""
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_uid == 0 and folder != Path("/"):
            folder.chmod(folder.stat().st_mode | 0o011)
    program = shutil.copy("/bin/sleep", tmp_path / "condor_starter")
    with subprocess.Popen([program, "600"], user=12345) as payload:
        try:
            assert payload.pid not in startd_guard.list_starters()
        finally:
            payload.kill()


def test_the_startd_gets_what_condor_master_gave(tmp_path: Path) -> None:
    """Neither the environment nor the ignored signals differ from those of a startd without a guard."""
    program = tmp_path / "condor_startd"
    program.write_text("#!/bin/sh\nexec cat /proc/self/environ /proc/self/status > $1\n")
    program.chmod(0o755)
    write_guard(tmp_path / startd_guard.NAME, str(program))
    found = []
    for name in (program.name, startd_guard.NAME):
        subprocess.run(
            [tmp_path / name, tmp_path / f"{name}.out"], env={"PATH": "/bin", "PWD": os.getcwd()}, check=True
        )
        text = (tmp_path / f"{name}.out").read_text()
        found.append([text.partition("Name:")[0], *re.findall(r"Sig(?:Ign|Blk|Cgt):.*", text)])
    assert found[0] == found[1]


def test_the_guard_has_a_name(start: Callable[..., GuardedStartd]) -> None:
    """The observation finds the guard by its name."""
    node = start()
    eventually(lambda: read_name(node.guard.pid) == startd_guard.NAME, "it has named itself", LIMIT_S)


def test_a_startd_that_cannot_be_started(tmp_path: Path) -> None:
    """The guard ends with 127, as a shell would, and names the program."""
    program = tmp_path / "condor_startd"
    program.write_text("#!/nowhere\n")
    program.chmod(0o755)
    write_guard(tmp_path / startd_guard.NAME, str(program))
    done = subprocess.run([tmp_path / startd_guard.NAME], capture_output=True, text=True, check=False)
    assert done.returncode == 127 and str(program) in done.stderr


def test_a_guard_that_others_could_replace(tmp_path: Path) -> None:
    """condor_master runs the guard as root, so no other user may be able to write it."""
    tmp_path.chmod(0o777)
    with pytest.raises(PermissionError, match="others may write"):
        write_guard(tmp_path / startd_guard.NAME, "/bin/sh")


def test_a_guard_that_another_user_cannot_reach(tmp_path: Path) -> None:
    """Where condor_master runs as another user, a closed directory is a reason to go without the guard."""
    tmp_path.chmod(0o700)
    write_guard(tmp_path / startd_guard.NAME, "/bin/sh")
    with pytest.raises(PermissionError, match="another user"):
        write_guard(tmp_path / startd_guard.NAME, "/bin/sh", for_others=True)


def test_the_time_of_the_guard_stays(tmp_path: Path) -> None:
    """condor_master stops a startd whose program has a new time, so one that is written again has the same."""
    guard = tmp_path / startd_guard.NAME
    write_guard(guard, "/bin/sh")
    before = guard.stat().st_mtime_ns
    guard.unlink()
    write_guard(guard, "/bin/sh")
    assert guard.stat().st_mtime_ns == before


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
    monkeypatch.setattr(startd_guard, "list_starters", lambda: [node.starter])
    monkeypatch.setattr(startd_guard, "_send_signal", lambda *_: None)
    monkeypatch.setattr(startd_guard, "TOTAL_TIMEOUT_S", 0.1)
    began = time.monotonic()
    startd_guard.end_starters()
    assert time.monotonic() - began >= 0.1
    assert is_alive(node.starter)
