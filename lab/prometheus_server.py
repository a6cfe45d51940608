"""Run a real Prometheus: one build discovers through Consul (removed from Debian's since bookworm), one by HTTP."""

from __future__ import annotations

import json
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lab.cache import create_run_folder
from lab.debs import DebianPackage, get_unpacked_package

WITH_CONSUL = DebianPackage(  # Debian's last build with Consul discovery
    "prometheus", "2.24.1+ds-1+b7", "bullseye", "7f98887c0fa36e0dd81bb39abc57a9e2535c2a0dc20442a431255ebc0b87b73a"
)
WITH_HTTP = DebianPackage(  # with the later http_sd, without Consul
    "prometheus", "2.42.0+ds-5+deb12u1", "bookworm", "81d59a24fce84f7fbe97a45a4f2914b6a5881b5cd1db2a6a0e129e515e1a5f55"
)


def find_program(build: DebianPackage = WITH_CONSUL, name: str = "prometheus") -> str:
    """Return the path of a program of the build, such as `prometheus` or `promtool`.

    Raises:
        LabError: the package cannot be fetched.
    """
    return str(get_unpacked_package(build) / "usr/bin" / name)


class Prometheus:
    """API of a running Prometheus."""

    def __init__(self, address: str) -> None:
        self.address = address

    def request(self, path: str, **query: str) -> Any:
        """Query the HTTP API and return the `data` of its answer.

        Raises:
            OSError: the server does not answer (yet).
        """
        url = f"http://{self.address}/api/v1/{path}?{urllib.parse.urlencode(query)}"
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=60) as answer:
            return json.load(answer)["data"]

    def list_targets(self) -> list[dict[str, Any]]:
        """Return the active scrape targets."""
        targets: list[dict[str, Any]] = self.request("targets")["activeTargets"]
        return targets

    def run_query(self, query: str) -> list[dict[str, Any]]:
        """Evaluate a PromQL expression and return its result vector."""
        vector: list[dict[str, Any]] = self.request("query", query=query)["result"]
        return vector


@contextmanager
def start_prometheus(
    config: str, address: str, build: DebianPackage = WITH_CONSUL, options: Sequence[str] = ()
) -> Iterator[Prometheus]:
    """Run Prometheus, and kill it at the end.

    Args:
        config: its configuration (YAML).
        address: listen address (host:port).
        build: the package to take it from.
        options: further words of its command line.
    """
    with create_run_folder() as folder:
        file: Path = folder / "prometheus.yml"
        file.write_text(config)
        command = [
            find_program(build),
            f"--config.file={file}",
            f"--storage.tsdb.path={folder}/data",
            f"--web.listen-address={address}",
            f"--web.console.templates={folder}",
            f"--web.console.libraries={folder}",
            *options,
        ]
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder)
        try:
            yield Prometheus(address)
        finally:
            process.kill()
            process.wait()
