"""What all tests share: tests that need real parts of the outside world, and a real pool."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from lab import real_parts
from lab.pool import Pool

REAL_PARTS_REQUIRED = os.environ.get("AUTOPILOT_REQUIRE_REAL") == "1"


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test whose real part this machine cannot have, by name and with the reason; where it must, fail."""
    for marker in item.iter_markers("real"):
        for part in marker.args:
            if reason := real_parts.explain_unavailable(part):
                said = f"{item.nodeid} needs {part}: {reason}"
                if REAL_PARTS_REQUIRED:
                    pytest.fail(said, pytrace=False)
                pytest.skip(said)


@pytest.fixture
def pool() -> Iterator[Pool]:
    """A real HTCondor pool without workers. What its workers printed is shown when the test fails."""
    with Pool() as pool:
        yield pool
        for worker in pool.workers:
            print(f"--- {worker.name}, PID 1 {worker.exit_code=}\n{worker.read_log()}")
