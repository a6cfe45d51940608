"""A real Prometheus that discovers through Consul: a build that can, which Debian's since bookworm cannot."""

from __future__ import annotations

import json
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lab.cache import workplace
from lab.debs import Deb, unpacked

DEB = Deb(
    "prometheus", "2.24.1+ds-1+b7", "bullseye", "7f98887c0fa36e0dd81bb39abc57a9e2535c2a0dc20442a431255ebc0b87b73a"
)


def program() -> str:
    """Debian's last build with Consul discovery. Raises LabError."""
    return str(unpacked(DEB) / "usr/bin/prometheus")


class Prometheus:
    def __init__(self, address: str) -> None:
        self.address = address

    def ask(self, path: str, **query: str) -> Any:
        """Raises OSError while it does not answer."""
        url = f"http://{self.address}/api/v1/{path}?{urllib.parse.urlencode(query)}"
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=5) as answer:
            return json.load(answer)["data"]

    def targets(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.ask("targets")["activeTargets"]
        return found

    def value(self, query: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.ask("query", query=query)["result"]
        return found


@contextmanager
def prometheus(config: str, address: str) -> Iterator[Prometheus]:
    """Run it with that configuration (YAML) on an address (host:port)."""
    with workplace() as place:
        file: Path = place / "prometheus.yml"
        file.write_text(config)
        process = subprocess.Popen(
            [
                program(),
                f"--config.file={file}",
                f"--storage.tsdb.path={place}/data",
                f"--web.listen-address={address}",
                f"--web.console.templates={place}",
                f"--web.console.libraries={place}",
            ],
            stdout=subprocess.DEVNULL,
            stderr=(place / "log").open("wb"),
            cwd=place,
        )
        try:
            yield Prometheus(address)
        finally:
            process.kill()
            process.wait()
