"""Measure the watchdog's speed and size on a real engine and registry: `python -m tests.watchdog.figures`."""

from __future__ import annotations

import resource
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import psutil

from lab.dockerd import start_docker_daemon
from lab.registry_server import start_registry
from lab.zipapp_build import build_zipapp
from tests.watchdog.site import Site, eventually
from tests.watchdog.test_engines import get_slot, is_refilled, kill_container

ROUNDS = 9


def measure_refill_gaps(site: Site, process: subprocess.Popen[bytes]) -> Iterator[float]:
    """Measure the seconds from a container's death to the start of its successor."""
    for _ in range(ROUNDS):
        name = eventually(lambda: get_slot(site)["container"], 30, "the slot is filled")
        process.poll()
        began = time.time()
        kill_container(site, name)
        eventually(partial(is_refilled, site, name), 30, "refilled")
        yield get_slot(site)["since"] - began


def measure_passes(site: Site) -> Iterator[float]:
    """Measure the wall-clock seconds of a whole `run` with nothing to do."""
    for _ in range(ROUNDS):
        began = time.monotonic()
        site.run_once()
        yield time.monotonic() - began


def main() -> None:
    """Print all figures."""
    with tempfile.TemporaryDirectory() as folder, start_registry() as images, start_docker_daemon() as engine:
        site = Site(Path(folder), "docker", engine, images, engine.engine)
        site.write_config(failures={"initial": "1ms", "longest": "1ms"})
        site.push_image()
        with site.run_watch() as process:
            found = sorted(measure_refill_gaps(site, process))
            memory = psutil.Process(process.pid).memory_full_info()
        print(
            f"killed -> refilled, watch: median {statistics.median(found):.2f} s, worst {found[-1]:.2f} s of {ROUNDS}"
        )
        print(f"watch: {memory.uss / 1e6:.1f} MB private, {memory.rss / 1e6:.1f} MB resident")
        took = sorted(measure_passes(site))
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        site.run_once()
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        print(f"a pass with nothing to do: median {statistics.median(took):.2f} s, of it {cpu:.2f} s CPU")
        build_zipapp(Path(folder) / "watchdog.pyz")
        print(f"watchdog.pyz: {(Path(folder) / 'watchdog.pyz').stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
