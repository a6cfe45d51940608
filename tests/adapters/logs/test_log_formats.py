"""Test the two formats of `autopilot run`, and the log that writes them."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from autopilot.adapters.logs.log_entry import LogFormat
from autopilot.adapters.logs.log_formats import JsonFormat, TextFormat
from autopilot.adapters.logs.log_writer import LogWriter
from autopilot.adapters.logs.logger import Logger


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


def write_lines(loop: asyncio.AbstractEventLoop, path: Path, log_format: LogFormat) -> list[str]:
    """Write a line of the supervisor and a line of a job, and return the log."""
    log = Logger(LogWriter(loop, os.open(path, os.O_WRONLY | os.O_CREAT)), log_format)
    log.log("warning", "restart_scheduled", "restarts in 1 s", job="app", failures=2)
    log.log_job_lines("app", "stdout", [b"hello"], pid=7)
    log.log("debug", "job_stopping", "stopping", job="app")
    return path.read_text().splitlines()


def test_json(loop: asyncio.AbstractEventLoop, tmp_path: Path) -> None:
    """A line of ours has its stable id in `event` and its sentence in `message`; a job's line has no id."""
    own, spoken = map(json.loads, write_lines(loop, tmp_path / "log", JsonFormat({"slot": "s1"})))
    del own["time"], spoken["time"]
    assert own == {
        "level": "warning",
        "job": "app",
        "event": "restart_scheduled",
        "message": "restarts in 1 s",
        "slot": "s1",
        "failures": 2,
    }
    assert spoken == {"job": "app", "stream": "stdout", "message": "hello", "slot": "s1"}


def test_text(loop: asyncio.AbstractEventLoop, tmp_path: Path) -> None:
    """For eyes the job is the sentence's subject, and there is no id."""
    own, spoken = (line.split(" ", 1)[1] for line in write_lines(loop, tmp_path / "log", TextFormat()))
    assert own == "WARNING  job app: restarts in 1 s failures=2"
    assert spoken == "app | hello"
