"""Share with all tests: skipping for missing real parts, the order and groups of a parallel run, and a real pool."""

from __future__ import annotations

import os
from collections.abc import Iterator

import hypothesis
import pytest

from lab import real_parts
from lab.pool import Pool

REAL_PARTS_REQUIRED = os.environ.get("AUTOPILOT_REQUIRE_REAL") == "1"

# Hypothesis uses the same examples in every complete run; other runs search for new ones. No example has a deadline.
hypothesis.settings.register_profile(
    "here", deadline=None, derandomize=REAL_PARTS_REQUIRED, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.register_profile("quick", hypothesis.settings.get_profile("here"), max_examples=40)
hypothesis.settings.load_profile("here")


def pytest_configure(config: pytest.Config) -> None:
    """Try fewer examples where slow tests are left out, as `make check` does."""
    if "not slow" in config.option.markexpr:
        hypothesis.settings.load_profile("quick")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Return the number of processes that share the tests.

    It is one for each core (`-n logical`), or half as many again (`-n auto`) where many wait for real parts.
    """
    cores = len(os.sched_getaffinity(0))
    return cores if config.getoption("numprocesses") == "logical" else cores + (cores + 1) // 2


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Group the tests that share something, and order the long ones first, so that none runs alone at the end."""
    for item in items:
        if item.get_closest_marker("xdist_group") is None and (group := get_group(item)):
            item.add_marker(pytest.mark.xdist_group(group))
    items.sort(key=lambda item: (item.get_closest_marker("real") is None, item.get_closest_marker("slow") is None))
    # The first pool builds its tree, which takes minutes on a new machine: other tests run meanwhile.
    pools = [item for item in items if "htcondor" in get_needs(item)]
    items[:] = pools[:1] + [item for item in items if item not in pools[:1]]


def pytest_collection_finish(session: pytest.Session) -> None:
    """Fail if groups have no effect: tests of one group would then run in parallel, each with its own engine."""
    if session.config.getoption("loadgroup", False):
        ungrouped = [
            item for item in session.items if item.get_closest_marker("xdist_group") and "@" not in item.nodeid
        ]
        if ungrouped:
            raise pytest.UsageError(f"this pytest and this pytest-xdist lose the group of {ungrouped[0].nodeid}")


def get_group(item: pytest.Item) -> str | None:
    """Return the group of tests that run one after the other in one process; None for a test that may run anywhere.

    Two kinds are grouped: tests of the watchdog by the engine that is started for all of them (a Docker, a Podman), and
    tests of the lab's Docker engine, which holds the built images and runs once on a machine. Every test has its own
    instance of every other real part: its pool, its Consul on its own address, its ports, its folder.
    """
    needed = get_needs(item)
    if "registry" in needed:
        call = getattr(item, "callspec", None)
        return "podman" if call is not None and call.params.get("site") == "podman" else "docker"
    return "machine" if "docker" in needed else None


def get_needs(item: pytest.Item) -> set[str]:
    """Return the real parts that the test needs."""
    return {part for marker in item.iter_markers("real") for part in marker.args}


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test whose real part this machine cannot have, with the reason; fail it if real parts are required."""
    for marker in item.iter_markers("real"):
        for part in marker.args:
            if reason := real_parts.explain_unavailable(part):
                message = f"{item.nodeid} needs {part}: {reason}"
                if REAL_PARTS_REQUIRED:
                    pytest.fail(message, pytrace=False)
                pytest.skip(message)


@pytest.fixture
def pool() -> Iterator[Pool]:
    """Run a real HTCondor pool without workers. A failed test shows the output of its workers."""
    with Pool() as pool:
        yield pool
        for worker in pool.workers:
            print(f"--- {worker.name}, PID 1 {worker.exit_code=}\n{worker.read_log()}")
