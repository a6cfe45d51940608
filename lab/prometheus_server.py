"""A real Prometheus: a build that discovers through Consul, which Debian's since bookworm cannot, and one by HTTP."""

from __future__ import annotations

import json
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lab.cache import create_run_folder
from lab.debs import DebianPackage, get_unpacked_package

WITH_CONSUL = DebianPackage(  # Debian's last build with Consul discovery
    "prometheus", "2.24.1+ds-1+b7", "bullseye", "7f98887c0fa36e0dd81bb39abc57a9e2535c2a0dc20442a431255ebc0b87b73a"
)
WITH_HTTP = DebianPackage(  # with http_sd, which came later, and without Consul
    "prometheus", "2.42.0+ds-5+deb12u1", "bookworm", "81d59a24fce84f7fbe97a45a4f2914b6a5881b5cd1db2a6a0e129e515e1a5f55"
)


def find_program(build: DebianPackage = WITH_CONSUL, name: str = "prometheus") -> str:
    """Raises LabError."""
    return str(get_unpacked_package(build) / "usr/bin" / name)


class Prometheus:
    def __init__(self, address: str) -> None:
        self.address = address

    def request(self, path: str, **query: str) -> Any:
        """Raises OSError while it does not answer."""
        url = f"http://{self.address}/api/v1/{path}?{urllib.parse.urlencode(query)}"
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=5) as answer:
            return json.load(answer)["data"]

    def list_targets(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.request("targets")["activeTargets"]
        return found

    def run_query(self, query: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.request("query", query=query)["result"]
        return found


@contextmanager
def start_prometheus(config: str, address: str, build: DebianPackage = WITH_CONSUL) -> Iterator[Prometheus]:
    """Run it with that configuration (YAML) on an address (host:port)."""
    with create_run_folder() as place:
        file: Path = place / "prometheus.yml"
        file.write_text(config)
        command = [
            find_program(build),
            f"--config.file={file}",
            f"--storage.tsdb.path={place}/data",
            f"--web.listen-address={address}",
            f"--web.console.templates={place}",
            f"--web.console.libraries={place}",
        ]
        with (place / "log").open("wb") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log, cwd=place)
        try:
            yield Prometheus(address)
        finally:
            process.kill()
            process.wait()
