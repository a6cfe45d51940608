"""Run condor_startd as a child, and give its payloads back to their queue when it is killed.

Theory of operation. When a startd dies, condor_master has condor_procd kill the startd's whole family: its starters
tell nobody, and the schedd shows their jobs as running until the lease ends (40 minutes). A startd that is started
again cannot tell the schedd either: it does not know the session of the claim and refuses the shadow, which goes on
trying. A starter that is told to end, however, needs no startd to give its job back: in a test the job was Idle in
0.2 s.

So condor_master starts this program in place of condor_startd. It passes signals on, and when the startd has ended it
first tells the starters to end, softly and then hard, and waits for them. Only then does it end in the same way, and
condor_master learns of it.

This file runs by itself, by `python -IS`, from a copy in the state directory: it imports nothing of this package.
"""

import contextlib
import os
import resource
import signal
import sys
import time

NAME = "startd_guard"
SOFT_TIMEOUT_S = 1.2  # for jobs that obey their soft signal
TOTAL_TIMEOUT_S = 4.2  # with the time for starters to kill their jobs; they need 0.1 s
POLL_S = 0.02
MAX_STAT_BYTES = 4096
# a fault of our own, or of a terminal: not for the startd
OWN_SIGNALS = {
    signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD, signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL,
    signal.SIGPIPE, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU,
}  # fmt: skip


def list_starters() -> list[int]:
    """Return the live starters whose startd has died.

    They are found by name, parent and real uid: the environment of a daemon that acts as another user can be read by
    root only with CAP_SYS_PTRACE, which containers seldom have. A starter of another live startd has that one as its
    parent, and a payload that calls itself a starter has the uid of its job's owner.
    """
    return [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if _is_orphaned_starter(pid)]


def _is_orphaned_starter(pid: int) -> bool:
    stat = _read_stat(pid)
    if stat is None or stat[0] != b"condor_starter" or stat[1] in (b"Z", b"X"):
        return False
    parent = _read_stat(int(stat[2]))
    if parent is not None and parent[0] == b"condor_startd" and parent[1] not in (b"Z", b"X"):
        return False
    return _read_real_uid(pid) == os.getuid()


def _read_stat(pid: int) -> tuple[bytes, bytes, bytes] | None:
    """Return a process's name, state and parent; None when it is gone."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            name, _, rest = file.read(MAX_STAT_BYTES).partition(b" (")[2].rpartition(b") ")
    except OSError:
        return None
    state, parent = rest.split()[:2]
    return name, state, parent


def _read_real_uid(pid: int) -> int | None:
    try:
        with open(f"/proc/{pid}/status", "rb") as file:
            return next((int(line.split()[1]) for line in file if line.startswith(b"Uid:")), None)
    except OSError:
        return None


def end_starters() -> None:
    """End the starters that outlived their startd: SIGTERM, SIGQUIT after 1.2 s, and no longer than 4.2 s in all.

    A SIGQUIT from condor_master, which ends in haste, ends the soft time.
    """
    began = time.monotonic()
    signalled: dict[int, int] = {}
    while (waited := time.monotonic() - began) < TOTAL_TIMEOUT_S and (starters := list_starters()):
        is_soft = waited < SOFT_TIMEOUT_S and signal.SIGQUIT not in signal.sigpending()
        order = signal.SIGTERM if is_soft else signal.SIGQUIT
        for pid in starters:
            if signalled.get(pid) != order:
                signalled[pid] = order
                _send_signal(pid, order)
        time.sleep(POLL_S)


def _send_signal(pid: int, number: int) -> None:
    with contextlib.suppress(OSError):  # it has ended
        os.kill(pid, number)
        os.kill(pid, signal.SIGCONT)  # a stopped process would never act on it


def read_initial_environment() -> dict[bytes, bytes]:
    """Return the environment as condor_master gave it: Python adds LC_CTYPE where no locale is set."""
    with open("/proc/self/environ", "rb") as file:
        pairs = (word.partition(b"=") for word in file.read().split(b"\0"))
    return {name: value for name, found, value in pairs if found and name}


def become_startd(program: str, arguments: list[str]) -> None:
    """Replace this process by the startd, with the signals and the environment that condor_master gave us.

    Raises:
        OSError: The program cannot be executed.
    """
    for number in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores them, and exec would keep that
        signal.signal(number, signal.SIG_DFL)
    try:
        environment = read_initial_environment()
    except OSError:
        environment = dict(os.environb)
    os.execve(program, [program, *arguments], environment)


def start_startd(program: str, arguments: list[str], mask: set[signal.Signals | int]) -> int:
    """Start the startd with this signal mask, and return its pid; it alone keeps the sockets of condor_master."""
    if (pid := os.fork()) == 0:
        try:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            become_startd(program, arguments)
        except OSError as error:
            os.write(2, f"{NAME}: cannot execute {program}: {error.strerror}\n".encode())
        finally:
            os._exit(127)
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2:
            with contextlib.suppress(OSError):  # the listing's own is closed already
                os.close(int(name))
    return pid


def wait_for_startd(startd: int, signals: set[signal.Signals]) -> int:
    """Pass signals on until the startd has ended, and return its wait status."""
    while True:
        if (number := signal.sigwait(signals)) != signal.SIGCHLD:
            _send_signal(startd, number)
            continue
        pid, status = os.waitpid(startd, os.WNOHANG)
        if pid == startd:
            return status


def end_alike(status: int) -> None:
    """End as the startd did, by the same signal or with the same exit status."""
    code = os.waitstatus_to_exitcode(status)
    if code < 0:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if -code != signal.SIGKILL:
            signal.signal(-code, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {-code})
        os.kill(os.getpid(), -code)
        code = 128 - code
    os._exit(code)


def main(program: str, arguments: list[str]) -> None:
    """Run the startd `program` with these arguments, guard it, and end as it did.

    Where the guard cannot take its name, by which it is known, it becomes the startd: without a guard, but at work.
    """
    try:
        with open("/proc/self/comm", "w") as file:
            file.write(NAME)
    except OSError:
        become_startd(program, arguments)
    signals = set(signal.valid_signals()) - OWN_SIGNALS | {signal.SIGCHLD}
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    startd = start_startd(program, arguments, signal.pthread_sigmask(signal.SIG_BLOCK, signals))
    status = wait_for_startd(startd, signals)
    end_starters()
    end_alike(status)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
