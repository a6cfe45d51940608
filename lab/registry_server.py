"""Run a real image registry (Debian's docker-registry) on a loopback port, where engines do not require TLS."""

from __future__ import annotations

import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lab import system_packages
from lab.cache import create_run_folder
from lab.polling import BUSY_FACTOR, poll_until
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
    """Registry that may be stopped and started again; its content and port stay."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """Address of the registry (host:port)."""
        return f"127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        """Log of all its starts."""
        return (self.folder / "log").read_text()

    def count_requests(self, method: str, path_part: str = "") -> int:
        """Return the number of requests with this method so far whose path contains `path_part`."""
        return sum(f'"{method} /v2/' in line and path_part in line for line in self.log.splitlines())

    def start(self) -> None:
        """Start the registry and wait until it answers."""
        with (self.folder / "log").open("a") as log:
            command = ["docker-registry", "serve", str(self.folder / "config.yml")]
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        poll_until(
            self._is_reachable,
            10,
            lambda _: f"cannot start docker-registry: {self.log.strip()[-500:]}",
            process=self.process,
        )

    def stop(self) -> None:
        """Kill the registry."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(BUSY_FACTOR * 10)
            self.process = None

    def _is_reachable(self) -> bool:
        try:
            urllib.request.build_opener(urllib.request.ProxyHandler({})).open(
                f"http://{self.address}/v2/", timeout=BUSY_FACTOR * 2
            )
        except urllib.error.HTTPError as error:
            return error.code == 401
        except OSError:
            return False
        return True


@contextmanager
def start_registry(user: str = "", password: str = "") -> Iterator[Registry]:
    """Run a registry; with a user, it requires that user's password."""
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
        registry = Registry(folder, find_free_port())
        (folder / "config.yml").write_text(CONFIG.format(folder=folder, port=registry.port, auth=auth))
        registry.start()
        try:
            yield registry
        finally:
            registry.stop()
