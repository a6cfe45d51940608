"""The rescue of the payloads of a killed startd, with real processes in the daemons' places."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import Iterator

import pytest

from autopilot.adapters.batch.htcondor import payload_rescue
from autopilot.adapters.batch.htcondor.condor_commands import CondorCommands
from autopilot.adapters.batch.htcondor.daemons import Daemons, send_signal
from autopilot.adapters.batch.htcondor.htcondor_settings import HtcondorSettings
from autopilot.adapters.batch.htcondor.node_state import NodeState

LIMIT_S = 60.0


@pytest.fixture
def processes() -> Iterator[list[subprocess.Popen[bytes]]]:
    """Three processes: the master, the startd and a starter."""
    started = [subprocess.Popen(["sleep", "600"]) for _ in range(3)]
    yield started
    for process in started:
        process.send_signal(signal.SIGCONT)
        process.kill()
        process.wait()


@pytest.mark.parametrize("outlived", [True, False])
def test_a_killed_startd(
    processes: list[subprocess.Popen[bytes]], monkeypatch: pytest.MonkeyPatch, outlived: bool
) -> None:
    """The master is stopped until the starter that outlived the startd has ended; without one it goes on at once."""
    master, startd, starter = processes
    node = NodeState(HtcondorSettings(), CondorCommands(None), lambda _: None)  # type: ignore[arg-type]
    node.daemons = Daemons(master.pid, startd.pid, (starter.pid,))
    remaining = (starter.pid,) if outlived else ()
    monkeypatch.setattr(payload_rescue, "find_daemons", lambda *_: Daemons(master.pid, None, remaining))
    # waitpid does not see a stop that is continued at once on a busy machine, so the signals are recorded
    sent: asyncio.Queue[int] = asyncio.Queue()

    def send_and_record(pid: int, number: int) -> bool:
        done = send_signal(pid, number)
        if pid == master.pid and done:
            sent.put_nowait(number)
        return done

    monkeypatch.setattr(payload_rescue, "send_signal", send_and_record)

    async def rescue() -> None:
        loop = asyncio.get_running_loop()
        tasks: list[asyncio.Task[None]] = []
        guard = payload_rescue.PayloadRescue(node, lambda work: tasks.append(loop.create_task(work)))
        guard.watch(loop)
        startd.kill()
        assert [await sent.get() for _ in range(2)] == [signal.SIGSTOP, signal.SIGCONT]
        await asyncio.gather(*tasks)
        guard.close(loop)

    asyncio.run(asyncio.wait_for(rescue(), LIMIT_S))
    if outlived:
        assert starter.wait(LIMIT_S) == -signal.SIGTERM
    assert (starter.poll() is None) is not outlived and master.poll() is None


def test_an_end_without_payloads(processes: list[subprocess.Popen[bytes]]) -> None:
    """The master of an idle node is never stopped."""
    master, startd, _ = processes
    node = NodeState(HtcondorSettings(), CondorCommands(None), lambda _: None)  # type: ignore[arg-type]
    node.daemons = Daemons(master.pid, startd.pid)

    async def watch() -> None:
        loop, ended = asyncio.get_running_loop(), asyncio.Event()
        guard = payload_rescue.PayloadRescue(node, lambda _: pytest.fail("nothing is to be rescued"))
        guard.watch(loop)
        startd.kill()
        with_pidfd = os.pidfd_open(startd.pid)
        loop.add_reader(with_pidfd, ended.set)
        await ended.wait()
        loop.remove_reader(with_pidfd)
        os.close(with_pidfd)
        guard.close(loop)

    asyncio.run(asyncio.wait_for(watch(), LIMIT_S))
    assert os.waitpid(master.pid, os.WUNTRACED | os.WNOHANG) == (0, 0)
