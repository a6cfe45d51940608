"""A real registry (Debian's docker-registry) on a loopback port, which engines speak to without TLS."""

from __future__ import annotations

import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lab import system_packages
from lab.cache import create_run_folder
from lab.lab_errors import LabError
from lab.ports import find_free_port

CONFIG = """\
version: 0.1
log: {{level: info, accesslog: {{disabled: false}}}}
storage: {{filesystem: {{rootdirectory: {folder}/data}}, delete: {{enabled: true}}}}
http: {{addr: "127.0.0.1:{port}"}}
{auth}
"""
BCRYPT_SALT = "$2y$05$abcdefghijklmnopqrstuu"  # bcrypt, the cheapest the registry takes: this is no secret


@dataclass
class Registry:
    """May be stopped and started again; its content and port stay."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text()

    def count_requests(self, method: str, path_part: str = "") -> int:
        """How many it got, of those whose path contains `what`."""
        return sum(f'"{method} /v2/' in line and path_part in line for line in self.log.splitlines())

    def start(self) -> None:
        with (self.folder / "log").open("a") as log:
            command = ["docker-registry", "serve", str(self.folder / "config.yml")]
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        end = time.monotonic() + 10
        while not self._is_reachable():
            if self.process.poll() is not None or time.monotonic() > end:
                raise LabError(f"cannot start docker-registry: {self.log.strip()[-500:]}")
            time.sleep(0.05)  # its port notifies nobody

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait(10)
            self.process = None

    def _is_reachable(self) -> bool:
        try:
            urllib.request.build_opener(urllib.request.ProxyHandler({})).open(f"http://{self.address}/v2/", timeout=2)
        except urllib.error.HTTPError as error:
            return error.code == 401
        except OSError:
            return False
        return True


@contextmanager
def start_registry(user: str = "", password: str = "") -> Iterator[Registry]:
    """A running registry; with a user, it lets nobody else in."""
    system_packages.ensure_programs("docker-registry")
    with create_run_folder() as folder:
        auth = ""
        if user:
            hashed = subprocess.run(
                ["perl", "-e", "print crypt($ARGV[0], $ARGV[1])", password, BCRYPT_SALT],
                capture_output=True, text=True, check=True,
            ).stdout  # fmt: skip
            (folder / "htpasswd").write_text(f"{user}:{hashed}\n")
            auth = f"auth: {{htpasswd: {{realm: lab, path: {folder}/htpasswd}}}}"
        found = Registry(folder, find_free_port())
        (folder / "config.yml").write_text(CONFIG.format(folder=folder, port=found.port, auth=auth))
        found.start()
        try:
            yield found
        finally:
            found.stop()
