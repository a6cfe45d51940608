"""Test that an internal error in a part that only observes ends no life."""

from __future__ import annotations

import sys
import urllib.request

import pytest

from tests.app.harness import VICTIM, SupervisorProcess, find_free_port

pytestmark = pytest.mark.slow  # seconds each: for `make test`, not for `make check`

BROKEN_AT_FIRST = """
import sys
from autopilot.adapters.telemetry.telemetry_adapter import TelemetryAdapter
serve, failures = TelemetryAdapter._serve, iter([True, True])
async def fail_twice(self, *arguments):
    if next(failures, False):
        raise ValueError("broken")
    await serve(self, *arguments)
TelemetryAdapter._serve = fail_twice
from autopilot.app.boot import run
sys.exit(run(sys.argv[1]))
"""


class BrokenSupervisor(SupervisorProcess):
    """A supervisor with a defect in its telemetry port."""

    def build_command(self, config):
        return [sys.executable, "-c", BROKEN_AT_FIRST, str(config)]


def test_a_broken_observer_ends_no_life(tmp_path):
    """A telemetry port that fails twice is a condition, is counted, and serves in the end; the job runs on."""
    port = find_free_port()
    spec = {"jobs": [VICTIM], "telemetry": {"port": port, "interfaces": "static:127.0.0.1"}}
    with BrokenSupervisor(tmp_path, spec) as pilot:
        line = pilot.wait_for(lambda line: "the observer telemetry failed (2 times)" in line["message"])
        assert line["trouble"] == "observer-telemetry" and "please report it" in line["message"]
        status = pilot.get_status()
        assert status["listener_failures"] == {"observer-telemetry": 2}
        assert status["jobs"][0]["state"] == "running"
        assert wait_for_answer(f"http://127.0.0.1:{port}/status")
        assert pilot.stop() == 0


def wait_for_answer(url):
    from tests.app.harness import eventually

    def has_answered():
        try:
            return urllib.request.urlopen(url, timeout=60).status == 200
        except OSError:
            return False

    eventually(has_answered, "the port serves")
    return True
