"""A host of the lab: namespaces over the shared Debian tree, with a network card, and one command as their PID 1."""

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

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
HOST_INIT_SCRIPT = Path(__file__).with_name("host_init.py")


@dataclass(frozen=True, kw_only=True)
class DiskLayout:
    """What a host sees as its disk."""

    layers: Sequence[Path]  # read-only, the first wins
    writable_folder: Path  # folder for what this host writes
    files: Mapping[str, str | bytes] = field(default_factory=dict)  # written before the start
    disks: Mapping[str, str] = field(default_factory=dict)  # mount point -> tmpfs options, such as "size=16m"


class Host:
    """One started host. `stop()` (or the death of the process that made it) takes everything in it away."""

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
        self._root_prefix = (
            tree.writable_folder / "root"
        )  # where its disk is, as its PID 1 sees the machine before the chroot
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
        ours.settimeout(30)
        self._control = ours
        answers = {ours.recv(16), ours.recv(16)}  # the launcher's and the inside's, in either order
        if b"ready" not in answers or b"" in answers:
            self.stop()
            raise LabError(f"cannot start the host {self.name}: {self.read_log().strip()}")
        self.pid = int((answers - {b"ready"}).pop())

    def start_command(self) -> None:
        """Let the command start, and return once it has. Until told the host waits, so that its network can be made.

        Before the exec the host has not even its own root directory: what is run "inside" would run on this machine.
        """
        self._root_prefix = Path("/")
        self._control.send(b"go")
        self._control.recv(1)  # its end of the socket closes with the exec
        self._control.close()

    def stop(self) -> None:
        """Kill what is left of the host. Idempotent."""
        self._control.close()
        if self._launcher.stdin:
            self._launcher.stdin.close()
        self._launcher.wait(30)

    @property
    def exit_code(self) -> int | None:
        """Of the host's PID 1: None while it runs, -n when signal n ended it."""
        return self._launcher.poll()

    def wait(self, timeout: float) -> int:
        """Wait for the end of PID 1 and return its exit code."""
        try:
            return self._launcher.wait(timeout)
        except subprocess.TimeoutExpired:
            raise LabError(f"{self.name}: PID 1 still runs after {timeout:g} s\n{self.read_log()}") from None

    # -- act -----------------------------------------------------------------------------------------------------------

    def send_signal(self, number: int) -> None:
        """Send a signal to the host's PID 1 from outside, as a container engine does."""
        os.kill(self.pid, number)

    def build_nsenter_command(self, argv: Sequence[str], user: str = "root") -> list[str]:
        """The command line that runs `argv` inside this host."""
        target = str(self.pid)
        become = [] if user == "root" else ["setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups"]
        return ["nsenter", "-t", target, "-m", "-u", "-i", "-n", "-p", "-r", "-w", "--", *become, *argv]

    def run(
        self, argv: Sequence[str] | str, *, user: str = "root", timeout: float = 20, stdin: str = "", check: bool = True
    ) -> str:
        """Run a command inside and return its standard output; a string goes through the shell."""
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
            said = (done.stderr or done.stdout).strip()
            raise LabError(f"{self.name}: {shlex.join(command)} ended with {done.returncode}: {said}")
        return done.stdout

    def find_processes(self, name: str) -> list[int]:
        """The pids, as seen outside, of the host's processes whose program has this name."""
        home = os.stat(f"/proc/{self.pid}/ns/pid").st_ino
        found = []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                program = entry.joinpath("cmdline").read_bytes().split(b"\0")[0].decode(errors="replace")
                inside = os.stat(entry / "ns/pid").st_ino == home
            except OSError:  # gone meanwhile
                continue
            if inside and Path(program).name == name:
                found.append(int(entry.name))
        return found

    def signal_processes(self, name: str, number: int = signal.SIGKILL) -> list[int]:
        """Signal every process of that name, such as SIGSTOP to `condor_startd`; at least one must be there."""
        pids = self.find_processes(name)
        if not pids:
            raise LabError(f"{self.name}: no process is called {name}")
        for pid in pids:
            os.kill(pid, number)
        return pids

    def run_ip(self, *argv: str) -> None:
        """Run iproute2 in the host's network, from outside: works before the start, too."""
        subprocess.run(["nsenter", f"--net=/proc/{self.pid}/ns/net", "ip", *argv], check=True, timeout=20)

    def set_link_state(self, state: str) -> None:
        """`down` cuts the host off the network, `up` brings it back."""
        self.run_ip("link", "set", "eth0", state)

    # -- look ----------------------------------------------------------------------------------------------------------

    def read_log(self) -> str:
        """All that the host's PID 1 and its children wrote."""
        return self._log.read_text(errors="replace")

    def write_file(self, path: str, content: str | bytes, mode: int = 0o644) -> None:
        """Put a file of root's on the host's disk, before its start or while it runs."""
        target = Path(f"/proc/{self.pid}/root{self._root_prefix}{path}")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content.encode() if isinstance(content, str) else content)
        target.chmod(mode)

    def read_file(self, path: str) -> str:
        """A file the host wrote (not below a `disks` mount). Works after its end, too."""
        return Path(f"{self._upper}{path}").read_text(errors="replace")
