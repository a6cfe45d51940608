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
MAX_ENVIRONMENT_BYTES = 1 << 20
# a fault of our own, or of a terminal: not for the startd
OWN_SIGNALS = {
    signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD, signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL,
    signal.SIGPIPE, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU,
}  # fmt: skip


def list_starters(startd: int) -> list[int]:
    """Return the live starters that this startd has started: HTCondor marks each process by its ancestors' pids."""
    marker = b"_CONDOR_ANCESTOR_%d=" % startd
    return [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if _is_starter(pid, marker)]


def _is_starter(pid: int, marker: bytes) -> bool:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            name, _, rest = file.read(4096).partition(b" (")[2].rpartition(b") ")
        if name != b"condor_starter" or rest[:1] in b"ZX":
            return False
        with open(f"/proc/{pid}/environ", "rb") as file:
            return any(word.startswith(marker) for word in file.read(MAX_ENVIRONMENT_BYTES).split(b"\0"))
    except OSError:
        return False  # it has ended


def end_starters(startd: int) -> None:
    """End the starters that outlived their startd: SIGTERM, SIGQUIT after 1.2 s, and no longer than 4.2 s in all."""
    began = time.monotonic()
    signalled: dict[int, int] = {}
    while (waited := time.monotonic() - began) < TOTAL_TIMEOUT_S and (starters := list_starters(startd)):
        order = signal.SIGTERM if waited < SOFT_TIMEOUT_S else signal.SIGQUIT
        for pid in starters:
            if signalled.get(pid) != order:
                signalled[pid] = order
                _send_signal(pid, order)
        time.sleep(POLL_S)


def _send_signal(pid: int, number: int) -> None:
    with contextlib.suppress(OSError):  # it has ended
        os.kill(pid, number)
        os.kill(pid, signal.SIGCONT)  # a stopped process would never act on it


def start_startd(program: str, arguments: list[str], mask: set[signal.Signals | int]) -> int:
    """Start the startd with this signal mask, and return its pid; it alone keeps the sockets of condor_master."""
    if (pid := os.fork()) == 0:
        try:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            os.execv(program, [program, *arguments])
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
    """Run the startd `program` with these arguments, guard it, and end as it did."""
    signals = set(signal.valid_signals()) - OWN_SIGNALS | {signal.SIGCHLD}
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    startd = start_startd(program, arguments, mask)
    with open("/proc/self/comm", "w") as file:
        file.write(NAME)
    status = wait_for_startd(startd, signals)
    end_starters(startd)
    end_alike(status)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
