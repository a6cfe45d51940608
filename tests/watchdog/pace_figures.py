"""Measure the watchdog's pace on a real engine and registry: `python -m tests.watchdog.pace_figures [CASE...]`."""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import psutil
from autopilot_watchdog.engine.engine_http import EngineClient

from lab.dockerd import DockerDaemon, start_docker_daemon
from lab.faults import FaultyProxy, start_faulty_proxy
from lab.registry_server import Registry, start_registry
from lab.tiny_images import format_healthy_script
from tests.watchdog.site import Site, eventually
from tests.watchdog.test_engines import get_slot, is_refilled, kill_container

ROUNDS = 5
IDLE_S = 60.0
SLOW_PIECE_S = 0.13  # per 64 KiB of an answer: about 500 kB/s
BULK_BYTES = 6_000_000


@contextmanager
def open_site(engine: DockerDaemon, images: Registry) -> Iterator[Site]:
    """Set up a host; remove its containers at the end."""
    with tempfile.TemporaryDirectory(prefix="pace-") as folder:
        own = Path(folder) / f"s{time.time_ns()}"  # the name of its repository
        own.mkdir()
        site = Site(own, "docker", engine, images, engine.engine)
        site.write_config(failures={"initial": "1ms", "longest": "1ms", "host_after": 1000})
        yield site
        names = engine.engine.run("ps", "--all", "--quiet").split()
        if names:
            engine.engine.run("rm", "--force", "--volumes", *names, timeout=300)


def measure_boot(site: Site, images: Registry, count: int) -> None:
    """Print the seconds until the first and the last of many slots run, and the requests that they cost."""
    site.push_image()
    site.write_config({"count": count})
    path = site.folder.name.lower()
    heads = images.count_requests("HEAD", path)
    begin = time.time()
    site.run_once(timeout=300)
    end = time.time()
    started = sorted(slot["since"] - begin for slot in site.get_slots().values())
    heads, pulls = images.count_requests("HEAD", path) - heads, len(site.read_audit("pull"))
    print(
        f"boot of {count} slots: first {started[0]:.1f} s, last {started[-1]:.1f} s, pass {end - begin:.1f} s; "
        f"{heads} HEAD, {pulls} pull"
    )


def measure_idle(site: Site) -> None:
    """Print the CPU share of a `watch` whose slots all run."""
    with site.run_watch() as process:
        time.sleep(10)  # the first pass is no idleness
        before, begin = psutil.Process(process.pid).cpu_times(), time.monotonic()
        time.sleep(IDLE_S)
        after, end = psutil.Process(process.pid).cpu_times(), time.monotonic()
    used = after.user + after.system - before.user - before.system
    print(f"idle watch: {100 * used / (end - begin):.3f} % CPU over {end - begin:.0f} s")


def measure_gaps(site: Site, end_container: Callable[[str], object], name: str) -> None:
    """Print the seconds from the end of a container to its successor, under `watch`."""
    gaps = []
    for _ in range(ROUNDS):
        old = eventually(lambda: get_slot(site)["container"], 30, "the slot is filled")
        begin = time.time()
        end_container(old)
        eventually(partial(is_refilled, site, old), 90, "refilled")
        gaps.append(get_slot(site)["since"] - begin)
    print_gaps(name, gaps)


def measure_bare_engine(site: Site) -> None:
    """Print the seconds that the engine's own calls take from a kill to a successor, with nothing between them."""
    client = EngineClient(site.engine, site.service.socket)
    gaps = []
    for _ in range(ROUNDS):
        old = eventually(lambda: get_slot(site)["container"], 30, "the slot is filled")
        found = site.ask_engine(f"/containers/{old}/json")
        body = {**found["Config"], "HostConfig": found["HostConfig"]}
        begin = time.time()
        kill_container(site, old)
        client.request_json("POST", f"/containers/{old}/wait", {"condition": "not-running"})
        client.request_json("DELETE", f"/containers/{old}", {"v": "true"})
        created = client.request_json("POST", "/containers/create", {"name": f"{old}-next"}, body)["Id"]
        client.request_json("POST", f"/containers/{created}/start")
        gaps.append(time.time() - begin)
        client.request_json("DELETE", f"/containers/{created}", {"v": "true", "force": "true"})
        site.run_once()
    print_gaps("the engine's calls alone", gaps)


def print_gaps(name: str, gaps: list[float]) -> None:
    """Print the median and the worst of some gaps, in seconds."""
    print(f"{name}: median {statistics.median(gaps):.2f} s, worst {max(gaps):.2f} s of {len(gaps)}")


def measure_ends(site: Site) -> None:
    """Print the gaps after a kill and after a forced removal, and the engine's own share."""
    site.push_image()
    site.run_once()
    measure_bare_engine(site)
    with site.run_watch():
        measure_gaps(site, partial(kill_container, site), "killed -> refilled, watch")
        measure_gaps(site, lambda name: site.builder.run("rm", "--force", name), "docker rm -f -> refilled, watch")


def measure_slow_pull(site: Site, proxy: FaultyProxy) -> None:
    """Print the time of other slots and of verbs while one image is pulled slowly."""
    site.push_image()
    site.write_config(registry={"check_every": "300s"})
    first = dict(site.document["slots"][0])
    with site.run_watch():
        eventually(lambda: get_slot(site)["container"], 30, "the slot is filled")
    other = site.push_reference.replace(":stable", ":bulky")
    from lab.tiny_images import build_and_push

    build_and_push(site.builder, other, format_healthy_script(), bulk=BULK_BYTES)
    proxy.delay_s = SLOW_PIECE_S
    slow = {**first, "name": "slow-NN", "image": other.replace(site.registry.address, proxy.address)}
    site.document["slots"].append(slow)
    site.write_config()
    with site.run_watch():
        time.sleep(2)  # the pull has begun
        old = get_slot(site)["container"]
        begin = time.time()
        kill_container(site, old)
        eventually(partial(is_refilled, site, old), 90, "refilled")
        print(f"killed -> refilled while another image is pulled: {get_slot(site)['since'] - begin:.1f} s")
        print(f"status of the waiting slot: {get_slot(site, 'slow-01')['sentence']}")
        begin = time.time()
        site.run_verb("pause", timeout=120)
        print(f"pause while an image is pulled: {time.time() - begin:.1f} s")
        site.run_verb("resume")
        eventually(lambda: get_slot(site, "slow-01")["container"], 90, "the slow image runs")
        print(f"the slow image runs after {get_slot(site, 'slow-01')['since'] - begin:.1f} s")


def measure_hanging_registry(site: Site, proxy: FaultyProxy) -> None:
    """Print the gaps while the registry accepts requests and never answers."""
    site.use_registry_address(proxy.address)
    site.push_image()
    site.write_config(registry={"check_every": "300s", "fresh": "0s"})  # timeout: the default
    with site.run_watch():
        eventually(lambda: get_slot(site)["container"], 30, "the slot is filled")
        proxy.delay_s = 1000
        measure_gaps(site, partial(kill_container, site), "killed -> refilled, hanging registry")


def main() -> None:
    """Print all figures, or those of the cases named on the command line."""
    wanted = sys.argv[1:] or ["boot", "idle", "ends", "pull", "registry"]
    with start_registry() as images, start_docker_daemon() as engine:
        if "boot" in wanted:
            with open_site(engine, images) as site:
                measure_boot(site, images, 32)
        if "boot" in wanted or "idle" in wanted:
            with open_site(engine, images) as site:
                measure_boot(site, images, 64)
                if "idle" in wanted:
                    site.write_config(registry={"check_every": "300s"})
                    measure_idle(site)
        if "ends" in wanted:
            with open_site(engine, images) as site:
                measure_ends(site)
        with start_faulty_proxy(images.port) as proxy:
            if "pull" in wanted:
                with open_site(engine, images) as site:
                    measure_slow_pull(site, proxy)
        with start_faulty_proxy(images.port) as proxy:
            if "registry" in wanted:
                with open_site(engine, images) as site:
                    measure_hanging_registry(site, proxy)


if __name__ == "__main__":
    main()
