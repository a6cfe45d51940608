"""Run the first process of a lab host: create its namespaces and mounts, then become its PID 1, the given command.

This is a program of its own, started by `lab.lab_host`: a threaded test runner must not fork itself, and Python 3.11
has no `os.unshare`. It is two processes: the *launcher* stays outside and ends the same way as the *inside* process.

The inside process sends `ready` over the control socket; its owner connects the network and answers `go`. The
launcher's standard input is a pipe from the owner: when it closes, even because the owner was killed, the launcher
kills the inside process, and the kernel removes everything in those namespaces. So nothing outlives a crashed test.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import signal
import socket
import sys
from pathlib import Path
from typing import Any

CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWIPC = 0x00020000, 0x04000000, 0x08000000
CLONE_NEWPID, CLONE_NEWNET = 0x20000000, 0x40000000
MS_BIND, MS_REC, MS_PRIVATE = 4096, 16384, 1 << 18
PR_SET_PDEATHSIG = 1

libc = ctypes.CDLL(None, use_errno=True)


def check_result(result: int, attempted: str) -> None:
    """Raise OSError with the attempted action if a call of the C library failed."""
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"cannot {attempted}: {os.strerror(number)}")


def mount(source: str, target: str, kind: str = "", flags: int = 0, data: str = "") -> None:
    """Mount a file system, or raise OSError."""
    check_result(
        libc.mount(source.encode(), target.encode(), kind.encode(), ctypes.c_ulong(flags), data.encode()),
        f"mount {kind or source} on {target}",
    )


def mount_all(host: dict[str, Any]) -> None:
    """Mount the host's whole view: its own tree over the shared one, the kernel's file systems, small disks."""
    mount("none", "/", flags=MS_REC | MS_PRIVATE)
    root = host["root"]
    lower = ":".join(host["layers"])
    mount("overlay", root, "overlay", 0, f"lowerdir={lower},upperdir={host['upper']},workdir={host['work']}")
    kernel_mounts = [("/proc", "proc", ""), ("/sys", "sysfs", ""), ("/dev/shm", "tmpfs", "mode=1777")]
    volumes = {path: disk for path, disk in host["disks"].items() if disk.startswith("/")}
    disks = [(path, "tmpfs", options) for path, options in host["disks"].items() if path not in volumes]
    for target, kind, options in kernel_mounts + disks:
        Path(root + target).mkdir(parents=True, exist_ok=True)
        mount(kind, root + target, kind, 0, options)
    for target, folder in volumes.items():
        Path(root + target).mkdir(parents=True, exist_ok=True)
        mount(folder, root + target, flags=MS_BIND)


def exec_as_pid_1(host: dict[str, Any], control: socket.socket) -> None:
    """Set up the new namespaces as their PID 1, then become the host's command. Never returns."""
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    mount_all(host)
    socket.sethostname(host["name"])
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    control.send(b"ready")
    if control.recv(16) != b"go":
        os._exit(1)
    os.chroot(host["root"])
    os.chdir("/")
    os.umask(0o022)
    for number in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores these, and the command would inherit that
        signal.signal(number, signal.SIG_DFL)
    os.execvpe(host["argv"][0], host["argv"], host["env"])


def wait_for_exit(child_pid: int) -> int:
    """Return the wait status of the inside process, after killing it if the owner is gone."""
    pidfd = os.pidfd_open(child_pid)
    readable, _, _ = select.select([pidfd, 0], [], [])
    if pidfd not in readable:
        os.kill(child_pid, signal.SIGKILL)
    return os.waitpid(child_pid, 0)[1]


def main() -> None:
    """Launch the host described by the first argument; the second is the file descriptor of the control socket."""
    host = json.loads(sys.argv[1])
    control = socket.socket(fileno=int(sys.argv[2]))
    control.set_inheritable(False)
    check_result(libc.unshare(CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWPID | CLONE_NEWNET), "unshare")
    inside = os.fork()
    if inside == 0:
        try:
            exec_as_pid_1(host, control)
        except OSError as error:
            print(f"lab: {error}", file=sys.stderr, flush=True)
        finally:
            os._exit(70)
    control.send(str(inside).encode())
    control.close()
    status = wait_for_exit(inside)
    if os.WIFSIGNALED(status):
        with contextlib.suppress(OSError):  # SIGKILL has no handler to reset
            signal.signal(os.WTERMSIG(status), signal.SIG_DFL)
        os.kill(os.getpid(), os.WTERMSIG(status))
    os._exit(os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    main()
