"""Run a real supervisor as `containerpilot`, its clients, and PID 1 of a namespace."""

from __future__ import annotations

import http.client
import json
import os
import shlex
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.app.harness import TIMEOUT_S, SupervisorProcess

PROGRAM = str(Path(sys.executable).with_name("containerpilot"))
DEFAULT_SOCKET = "/var/run/containerpilot.socket"


def run_to_end(
    *arguments: str, env: Mapping[str, str] | None = None, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run `containerpilot` to its end; of the variables that it reads, set only those in `env`."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(("AUTOPILOT_", "CONTAINERPILOT"))}
    return subprocess.run(
        [PROGRAM, *arguments],
        env={**own, **(env or {})},
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )


class DropIn(SupervisorProcess):
    """Supervisor that runs a spec as `containerpilot -config`, with our JSON log unless the spec sets another form."""

    def __init__(self, place: Path, spec: dict[str, Any], **options: Any) -> None:
        self.socket_path = place / "cp.socket"
        defaults = {"control": {"socket": str(self.socket_path)}, "logging": {"format": "auto"}}
        self.spec = {**defaults, **spec}
        super().__init__(place, self.spec, **options)

    def build_command(self, config: Path) -> list[str]:
        return [PROGRAM, "-config", str(config)]

    def run_with_flags(self, *flags: str) -> subprocess.CompletedProcess[str]:
        """Run `containerpilot` as a client of this supervisor."""
        return run_to_end("-config", str(self.config), *flags)

    def send_request(self, method: str, path: str, body: object = None) -> tuple[int, str]:
        """Send a request, and return the status and text of its answer; a body that is no str is sent as JSON."""
        connection = http.client.HTTPConnection("control", timeout=TIMEOUT_S)
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.settimeout(TIMEOUT_S)
        connection.sock.connect(str(self.socket_path))
        try:
            connection.request(method, path, body=body if isinstance(body, str | None) else json.dumps(body))
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()


class PidNamespace:
    """Command that runs as PID 1 of its own PID and mount namespaces, with an empty /run.

    `prepare` is a shell script that root runs in there before. The output goes to a file: nothing waits for a reader.
    """

    def __init__(self, place: Path, command: list[str], *, prepare: str = ":", env: Mapping[str, str] | None = None):
        self.output_path = place / "output"
        own = {k: v for k, v in os.environ.items() if not k.startswith(("AUTOPILOT_", "CONTAINERPILOT"))}
        inside = f"mount -t tmpfs tmpfs /run && {prepare} && exec {shlex.join(command)}"
        with self.output_path.open("wb") as output:
            self._outer = subprocess.Popen(
                ["unshare", "--pid", "--fork", "--mount", "--mount-proc", "--kill-child", "sh", "-c", inside],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**own, **(env or {})},
            )

    def __enter__(self) -> PidNamespace:
        return self

    def __exit__(self, *_: object) -> None:
        self._outer.kill()
        self._outer.wait()

    @property
    def pid(self) -> int:
        """Return the process id of its PID 1 outside the namespace."""
        children = Path(f"/proc/{self._outer.pid}/task/{self._outer.pid}/children").read_text().split()
        return int(children[0])

    def read_output(self) -> str:
        return self.output_path.read_text(errors="replace")

    def run(self, *command: str, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        """Run a command in the namespaces, as `docker exec` would."""
        return subprocess.run(
            ["nsenter", "--target", str(self.pid), "--pid", "--mount", *command],
            env={"PATH": os.environ["PATH"], **(env or {})},
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def wait(self, timeout_s: float = TIMEOUT_S) -> int:
        return self._outer.wait(timeout_s)
