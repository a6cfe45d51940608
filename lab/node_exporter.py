"""Run a real node-exporter that exports a folder of text files, as the watchdog writes them."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lab.debs import DebianPackage, get_unpacked_package

NODE_EXPORTER = DebianPackage(
    "prometheus-node-exporter",
    "1.5.0-1+b6",
    "bookworm",
    "8cb5b39627595ea2cf3cd27be593e0e9af87023d29e1c5b8487e2f9510097e09",
)


def find_program() -> Path:
    """Return the path of the program.

    Raises:
        LabError: the package cannot be fetched.
    """
    return get_unpacked_package(NODE_EXPORTER) / "usr/bin/prometheus-node-exporter"


@contextmanager
def start_node_exporter(folder: Path, address: str) -> Iterator[None]:
    """Run node-exporter, and kill it at the end.

    Args:
        folder: holds files `*.prom`.
        address: listen address (host:port).
    """
    command = [
        str(find_program()),
        "--collector.disable-defaults",
        "--collector.textfile",
        f"--collector.textfile.directory={folder}",
        f"--web.listen-address={address}",
    ]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.kill()
        process.wait()
