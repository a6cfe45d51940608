"""The use of the machine by jobs and payloads: measured on real processes."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys

import psutil
import pytest

from autopilot.adapters.telemetry.life_figures import LifeFigures
from autopilot.adapters.telemetry.process_usage import Usage, UsageMeter, read_usage
from autopilot.runtime.process_table import JobRoot
from tests.adapters.telemetry.test_telemetry_adapter import get_sample, read_samples, spec
from tests.app.harness import SupervisorProcess, eventually, shell

__all__ = ["spec"]

NO_MARK = 0
BURN = "i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done"
HOLD_FILES = """
import time
files = [open('/dev/null') for _ in range(50)]
while time.process_time() < 0.1:  # the kernel counts in hundredths of a second
    pass
print('ready', flush=True)
time.sleep(1000)
"""


def measure(meter, *, roots=None, ended=None, payloads=None, jobs=("job",)):
    figures = LifeFigures(0, 0, 0, 0, roots or {}, ended or {}, payloads or {})
    asyncio.run(meter.measure(figures, jobs))


@pytest.fixture
def process():
    """A process with 50 open files."""
    with subprocess.Popen([sys.executable, "-c", HOLD_FILES], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        yield process
        process.kill()


def test_reading(process):
    """A process's memory, CPU time, threads and open files are those that psutil tells."""
    usage, other = read_usage(process.pid), psutil.Process(process.pid)
    assert usage.processes == 1 and usage.threads == 1 and usage.open_files == other.num_fds() >= 50
    assert usage.memory_bytes == other.memory_info().rss > 1 << 20
    assert usage.cpu_seconds > 0


def test_reading_of_nothing(process):
    """A stopped process is read as any other; a zombie and a pid without a process use nothing."""
    process.send_signal(signal.SIGSTOP)
    assert read_usage(process.pid).processes == 1
    process.kill()
    eventually(lambda: read_usage(process.pid) == Usage(), "a zombie")
    process.wait()
    assert read_usage(process.pid) == Usage()


def test_cpu_time_never_goes_back(process):
    """A job's CPU time counts the ended runs and the present one, and never falls when a process ends unseen."""
    meter = UsageMeter()
    measure(meter, roots={"job": JobRoot(process.pid, NO_MARK)}, ended={"job": 5.0})
    first = meter.jobs["job"].cpu_seconds
    assert first > 5.0
    measure(meter, ended={"job": 5.0})
    assert meter.jobs["job"] == Usage(cpu_seconds=first)
    measure(meter, ended={"job": 9.0})
    assert meter.jobs["job"].cpu_seconds == 9.0


def test_payloads(process):
    """Payloads are measured together; the CPU time of one that has ended stays."""
    meter = UsageMeter()
    measure(meter, payloads={"1.0@schedd": process.pid})
    first = meter.payloads
    assert first.processes == 1 and first.memory_bytes > 0
    measure(meter)
    assert meter.payloads == Usage(cpu_seconds=first.cpu_seconds)


def test_removed_job(process):
    """A job that a reload has removed is forgotten."""
    meter = UsageMeter()
    measure(meter, roots={"job": JobRoot(process.pid, NO_MARK)})
    measure(meter, jobs=["other"])
    assert list(meter.jobs) == ["other"]


@pytest.mark.slow
def test_metrics(tmp_path, spec):
    """A scrape shows each job's processes, those that left its session too, and the CPU time of runs that are over."""
    spec["jobs"] = [
        {"name": "family", "exec": shell("setsid sleep 1000 & sleep 1000 & wait")},
        {"name": "short", "exec": shell(BURN)},
    ]
    with SupervisorProcess(tmp_path, spec):
        eventually(lambda: get_sample(spec, "autopilot_job_processes", name="family") == 3, "all are counted")
        eventually(lambda: get_sample(spec, "autopilot_job_up", name="short") == 0, "the short job is over")
        found = read_samples(spec)
        assert found["autopilot_job_cpu_seconds_total", ("name", "short")] > 0.01
        assert found["autopilot_job_processes", ("name", "short")] == 0
        assert found["autopilot_job_memory_bytes", ("name", "family")] > 0
        assert found["autopilot_job_threads", ("name", "family")] == 3
        assert found["autopilot_job_open_files", ("name", "family")] > 3
        assert found["autopilot_payload_processes",] == 0
        assert not [key for key in found if key[0].endswith("_created")]
