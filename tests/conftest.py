"""Skip tests whose real parts are not there, and share one real pool."""

from __future__ import annotations

import os
from collections.abc import Iterator

import hypothesis
import pytest

from lab import real_parts
from lab.pool import Pool

REAL_PARTS_REQUIRED = os.environ.get("AUTOPILOT_REQUIRE_REAL") == "1"

# The examples of a property are the same in every run that is a proof; others look for new ones. No example is timed.
hypothesis.settings.register_profile(
    "here", deadline=None, derandomize=REAL_PARTS_REQUIRED, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("here")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Return how many processes share the tests.

    It is one for each core (`-n logical`), or half as many again (`-n auto`) where many wait for real parts.
    """
    cores = len(os.sched_getaffinity(0))
    return cores if config.getoption("numprocesses") == "logical" else cores + (cores + 1) // 2


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put tests that share something into one group, and first those that take long: none is waited for at the end."""
    for item in items:
        if item.get_closest_marker("xdist_group") is None and (group := group_of(item)):
            item.add_marker(pytest.mark.xdist_group(group))
    items.sort(key=lambda item: (item.get_closest_marker("real") is None, item.get_closest_marker("slow") is None))
    # While one process builds the tree of a pool, which takes minutes on a new machine, the others need no pool.
    pools = [item for item in items if "htcondor" in needs(item)]
    items[:] = pools[:1] + [item for item in items if item not in pools[:1]]


def pytest_collection_finish(session: pytest.Session) -> None:
    """Fail at once where groups are not heeded: the tests of one would then run side by side, each with an engine."""
    if session.config.getoption("loadgroup", False):
        lost = [item for item in session.items if item.get_closest_marker("xdist_group") and "@" not in item.nodeid]
        if lost:
            raise pytest.UsageError(f"this pytest and this pytest-xdist lose the group of {lost[0].nodeid}")


def group_of(item: pytest.Item) -> str | None:
    """Return the group of tests that run one after the other in one process; None for a test that may run anywhere.

    Tests are grouped by an engine that is started once for all of them (those of the watchdog: a Docker, a Podman), and
    by the lab's Docker engine, which holds the built images and runs once on a machine. Every other real part is the
    test's own: its pool, its Consul on an address of its own, its ports, its folder.
    """
    needed = needs(item)
    if "registry" in needed:
        call = getattr(item, "callspec", None)
        return "podman" if call is not None and call.params.get("site") == "podman" else "docker"
    return "machine" if "docker" in needed else None


def needs(item: pytest.Item) -> set[str]:
    """Return the real parts that the test needs."""
    return {part for marker in item.iter_markers("real") for part in marker.args}


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test whose real part this machine cannot have, by name and with the reason; where it must, fail."""
    for marker in item.iter_markers("real"):
        for part in marker.args:
            if reason := real_parts.explain_unavailable(part):
                sentence = f"{item.nodeid} needs {part}: {reason}"
                if REAL_PARTS_REQUIRED:
                    pytest.fail(sentence, pytrace=False)
                pytest.skip(sentence)


@pytest.fixture
def pool() -> Iterator[Pool]:
    """A real HTCondor pool without workers. What its workers printed is shown when the test fails."""
    with Pool() as pool:
        yield pool
        for worker in pool.workers:
            print(f"--- {worker.name}, PID 1 {worker.exit_code=}\n{worker.read_log()}")
