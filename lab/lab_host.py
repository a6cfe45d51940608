"""Run a host of the lab: namespaces over the shared Debian tree, a network card, and one command as PID 1."""

from __future__ import annotations

import json
import os
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lab.lab_errors import LabError
from lab.polling import BUSY_FACTOR

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
HOST_INIT_SCRIPT = Path(__file__).with_name("host_init.py")


@dataclass(frozen=True, kw_only=True)
class DiskLayout:
    """Disk of a host.

    Attributes:
        layers: read-only folders; the first one that has a file wins.
        writable_folder: folder for everything the host writes.
        files: path inside -> content, written before the start.
        disks: mount point inside -> tmpfs options, such as "size=16m"; or a folder of this machine, for a volume that
            outlives the host.
    """

    layers: Sequence[Path]
    writable_folder: Path
    files: Mapping[str, str | bytes] = field(default_factory=dict)
    disks: Mapping[str, str] = field(default_factory=dict)


class Host:
    """Started host. `stop()`, or the death of the process that made it, removes everything in it."""

    def __init__(
        self, name: str, argv: Sequence[str], *, tree: DiskLayout, env: Mapping[str, str] | None = None
    ) -> None:
        self.name = name
        self.argv = list(argv)
        self.env = {"PATH": DEFAULT_PATH, "HOME": "/root", **(env or {})}
        self._tree = tree
        self._upper = tree.writable_folder / "upper"
        self._log = tree.writable_folder / "log"
        for folder in (self._upper, tree.writable_folder / "work", tree.writable_folder / "root"):
            folder.mkdir(parents=True)
        # the host's disk, as its PID 1 sees the machine before the chroot
        self._root_prefix = tree.writable_folder / "root"
        self._launch()
        for path, content in tree.files.items():
            self.write_file(path, content)

    # -- start and end -------------------------------------------------------------------------------------------------

    def _launch(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        recipe = json.dumps(
            {
                "name": self.name,
                "argv": self.argv,
                "env": self.env,
                "root": str(self._tree.writable_folder / "root"),
                "upper": str(self._upper),
                "work": str(self._tree.writable_folder / "work"),
                "layers": [str(layer) for layer in self._tree.layers],
                "disks": dict(self._tree.disks),
            }
        )
        with theirs, self._log.open("ab") as log:
            self._launcher = subprocess.Popen(
                [sys.executable, "-I", str(HOST_INIT_SCRIPT), recipe, str(theirs.fileno())],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        ours.settimeout(30 * BUSY_FACTOR)
        self._control = ours
        answers = {ours.recv(16), ours.recv(16)}  # the launcher's and the inside's, in either order
        if b"ready" not in answers or b"" in answers:
            self.stop()
            raise LabError(f"cannot start the host {self.name}: {self.read_log().strip()}")
        self.pid = int((answers - {b"ready"}).pop())

    def start_command(self) -> None:
        """Let the host's command start, and return when it has. Before this call the host waits for its network.

        Until then the host does not even have its own root directory: a command run "inside" would run on this machine.
        """
        self._root_prefix = Path("/")
        self._control.send(b"go")
        self._control.recv(1)  # its end of the socket closes with the exec
        self._control.close()

    def stop(self) -> None:
        """Kill every process of the host. Idempotent."""
        self._control.close()
        if self._launcher.stdin:
            self._launcher.stdin.close()
        self._launcher.wait(30 * BUSY_FACTOR)

    @property
    def exit_code(self) -> int | None:
        """Exit code of PID 1: None while it runs, -n after its death by signal n."""
        return self._launcher.poll()

    def wait(self, timeout: float) -> int:
        """Wait for the end of PID 1 and return its exit code.

        Raises:
            LabError: it still runs after BUSY_FACTOR times `timeout` seconds.
        """
        try:
            return self._launcher.wait(timeout * BUSY_FACTOR)
        except subprocess.TimeoutExpired:
            raise LabError(
                f"{self.name}: PID 1 still runs after {timeout * BUSY_FACTOR:g} s\n{self.read_log()}"
            ) from None

    # -- act -----------------------------------------------------------------------------------------------------------

    def send_signal(self, number: int) -> None:
        """Send a signal to the host's PID 1 from outside, as a container engine does."""
        os.kill(self.pid, number)

    def build_nsenter_command(self, argv: Sequence[str], user: str = "root") -> list[str]:
        """Return the command line that runs `argv` inside this host."""
        target = str(self.pid)
        become = [] if user == "root" else ["setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups"]
        return ["nsenter", "-t", target, "-m", "-u", "-i", "-n", "-p", "-r", "-w", "--", *become, *argv]

    def run(
        self, argv: Sequence[str] | str, *, user: str = "root", timeout: float = 20, stdin: str = "", check: bool = True
    ) -> str:
        """Run a command inside and return its standard output.

        Args:
            argv: the command; a string goes through the shell.
            user: the user it runs as.
            timeout: seconds after which it is killed.
            stdin: text for its standard input.
            check: fail when the exit code is not 0.

        Raises:
            LabError: the command failed and `check` is set.
        """
        command = ["sh", "-c", argv] if isinstance(argv, str) else list(argv)
        limited = ["timeout", "-s", "KILL", f"{timeout:g}", *command]
        env = {**self.env, "HOME": "/root" if user == "root" else f"/home/{user}"}
        done = subprocess.run(
            self.build_nsenter_command(limited, user),
            env=env,
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout + 10,
        )
        if check and done.returncode != 0:
            output = (done.stderr or done.stdout).strip()
            raise LabError(f"{self.name}: {shlex.join(command)} ended with {done.returncode}: {output}")
        return done.stdout

    def find_processes(self, name: str) -> list[int]:
        """Return the pids, as seen outside, of the host's processes whose program is called `name`."""
        namespace = os.stat(f"/proc/{self.pid}/ns/pid").st_ino
        pids = []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                program = entry.joinpath("cmdline").read_bytes().split(b"\0")[0].decode(errors="replace")
                inside = os.stat(entry / "ns/pid").st_ino == namespace
            except OSError:  # it has just ended
                continue
            if inside and Path(program).name == name:
                pids.append(int(entry.name))
        return pids

    def signal_processes(self, name: str, number: int = signal.SIGKILL) -> list[int]:
        """Signal every process whose program is called `name` and return their pids.

        Raises:
            LabError: there is no such process.
        """
        pids = self.find_processes(name)
        if not pids:
            raise LabError(f"{self.name}: no process is called {name}")
        for pid in pids:
            os.kill(pid, number)
        return pids

    def run_ip(self, *argv: str) -> None:
        """Run iproute2's `ip` in the host's network from outside, also before the host's start."""
        subprocess.run(["nsenter", f"--net=/proc/{self.pid}/ns/net", "ip", *argv], check=True, timeout=20 * BUSY_FACTOR)

    def set_link_state(self, state: str) -> None:
        """Disconnect the host from the network (`down`) or reconnect it (`up`)."""
        self.run_ip("link", "set", "eth0", state)

    # -- look ----------------------------------------------------------------------------------------------------------

    def read_log(self) -> str:
        """Return the output of the host's PID 1 and its children."""
        return self._log.read_text(errors="replace")

    def write_file(self, path: str, content: str | bytes, mode: int = 0o644) -> None:
        """Write a file as root on the host's disk, before its start or while it runs."""
        target = Path(f"/proc/{self.pid}/root{self._root_prefix}{path}")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content.encode() if isinstance(content, str) else content)
        target.chmod(mode)

    def read_file(self, path: str) -> str:
        """Return a file the host wrote (not below a `disks` mount), also after the host's end."""
        return Path(f"{self._upper}{path}").read_text(errors="replace")
