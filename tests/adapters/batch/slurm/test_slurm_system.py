"""The adapter with a stand-in for Slurm's tools: limits, problems, and the orders that are given."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from autopilot.adapters.batch.batch_system import SupervisorServices
from autopilot.adapters.batch.slurm import job_return
from autopilot.adapters.batch.slurm.slurm_commands import ControllerAnswer
from autopilot.adapters.batch.slurm.slurm_monitor import SlurmMonitor
from autopilot.adapters.batch.slurm.slurm_processes import SlurmProcesses
from autopilot.adapters.batch.slurm.slurm_settings import SlurmNode, SlurmSettings
from autopilot.adapters.batch.slurm.slurm_system import PROGRAMS, SlurmSystem
from autopilot.machines.cues import ConditionDetected, Cue, Drained, Evicted
from autopilot.runtime.command_runner import CommandResult
from autopilot.spec.plan import Command

IDLE = "NodeName=slot-1 CPUTot=1 RealMemory=500 State=IDLE+DYNAMIC_NORM ThreadsPerCore=1\n"
DRAINED = "NodeName=slot-1 State=IDLE+DRAIN+DYNAMIC_NORM ThreadsPerCore=1 Reason=autopilot: lifetime [root@x]\n"
UNKNOWN = "Node slot-1 not found\n"
# 192.0.2.0/24 is for documentation: no host has it
ELSEWHERE = "NodeName=slot-1 NodeAddr=192.0.2.7 Port=6818 State=MIXED+DYNAMIC_NORM ThreadsPerCore=1\n"


class FakeTools:
    """Answers `scontrol show node`, once for each text and then with the last one; every order succeeds,
    unless a test refuses it.

    Without a text every tool hangs until its limit.
    """

    def __init__(self, *records: str) -> None:
        self.records = list(records)
        self.orders: list[str] = []
        self.queue = ""  # as squeue prints it
        self.refusal = ""  # of each order

    async def run(self, command: Command, *, timeout: float, name: str) -> CommandResult:
        if not self.records:
            await asyncio.sleep(timeout)
            return CommandResult(137, "", True, timeout)
        if command.argv[:3] == ("scontrol", "--oneliner", "show"):
            text = self.records[0] if len(self.records) == 1 else self.records.pop(0)
            return CommandResult(int(text == UNKNOWN), text, False, 0.0)
        if command.argv[0] == "scontrol" and command.argv[1] != "show":
            self.orders.append(" ".join(command.argv[1:]))
            return CommandResult(int(bool(self.refusal)), self.refusal, False, 0.0)
        if command.argv[0] == "sh":  # reads a file, which needs no Slurm
            done = await asyncio.to_thread(subprocess.run, command.argv, capture_output=True, text=True, timeout=60)
            return CommandResult(done.returncode, done.stdout, False, 0.0)
        if command.argv[0] == "squeue":
            return CommandResult(0, self.queue, False, 0.0)
        return CommandResult(0, "Slurmd PID = 1" if "slurmd" in command.argv else "", False, 0.0)


async def run_once(_name: str, observe: Callable[[], Awaitable[None]]) -> None:
    """Await an observer, once: a test sees its failure."""
    await observe()


class System:
    """A system whose tools and reports a test sees."""

    def __init__(
        self, folder: Path, *records: str, env: dict[str, str] | None = None, settings: dict[str, str] | None = None
    ) -> None:
        self.tools, self.cues, self.tasks = FakeTools(*records), list[Cue](), set[asyncio.Task[None]]()
        services = SupervisorServices(
            command_runner=self.tools,
            report=self.cues.append,
            start_task=lambda work: self.tasks.add(asyncio.get_running_loop().create_task(work)),
            run_observer=run_once,
            life_id="life",
            state_directory=folder,
            env={"PATH": str(folder), "AUTOPILOT_SLOT": "slot-1", **(env or {})},
        )
        node = SlurmNode(cpus=1, memory=500 << 20, settings=settings or {})
        self.slurm = SlurmSystem(SlurmSettings(poll=0.05, node=node), services)

    async def finish_tasks(self) -> None:
        await asyncio.gather(*self.tasks)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A PATH with Slurm's programs, and a slurm.conf."""
    for name in PROGRAMS:
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    (tmp_path / "slurm.conf").touch()
    return tmp_path


async def test_a_node_that_can_start(folder: Path) -> None:
    """With all programs and a slurm.conf there is no problem, and slurmd gets the node's arguments."""
    system = System(folder, IDLE, env={"SLURM_CONF": str(folder / "slurm.conf")})
    assert await system.slurm.prepare() == []
    assert system.slurm.build_arguments()[:6] == ("-D", "-Z", "-N", "slot-1", "--conf", "CPUs=1 RealMemory=500")


async def test_problems_before_the_start(folder: Path) -> None:
    """A missing program and a missing slurm.conf are one line each, with the remedy."""
    (folder / "munge").unlink()
    found = await System(folder, IDLE, env={"SLURM_CONF": str(folder / "none")}).slurm.prepare()
    assert len(found) == 2
    assert "no program munge on PATH; install" in found[0]
    assert f"no slurm.conf in {folder / 'none'}; mount it, or write slurm.node.controller" in found[1]


@pytest.mark.parametrize("aspect", ["node", "munge", "slurmd"])
async def test_a_check_ends_in_time_though_every_tool_hangs(folder: Path, aspect: str) -> None:
    """Whatever Slurm does, the answer is there within the limit, and is a sentence."""
    passed, output = await System(folder).slurm.check(aspect, 0.2)
    assert not passed and len(output) > 10


@pytest.mark.parametrize(
    ("record", "passed", "words"),
    [(IDLE, True, "slurmctld knows slot-1"), (DRAINED, False, "is drained"), (UNKNOWN, False, "knows no node slot-1")],
)
async def test_the_check_of_the_node(folder: Path, record: str, passed: bool, words: str) -> None:
    """The node is in order when slurmctld would send it jobs."""
    system = System(folder, record)
    await system.slurm.prepare()
    result, output = await system.slurm.check("node", 60)
    assert result is passed and words in output


async def test_a_node_that_an_earlier_life_has_closed_is_opened(folder: Path) -> None:
    """The drain of an earlier life ends with this one's registration, and nothing is reported."""
    system = System(folder, DRAINED, IDLE)
    await system.slurm.prepare()
    await system.slurm._monitor.query()
    assert system.tools.orders == ["update nodename=slot-1 comment=", "update nodename=slot-1 state=resume"]
    assert not [cue for cue in system.cues if isinstance(cue, ConditionDetected)]
    assert system.slurm.get_status()["states"] == ["DYNAMIC_NORM", "IDLE"]


async def test_a_drain(folder: Path) -> None:
    """The order, its effect, the removal, and the report: each once, and each after the one before was observed."""
    system = System(folder, IDLE, DRAINED, UNKNOWN)
    await system.slurm.prepare()
    system.slurm.begin_drain("lifetime")
    await asyncio.wait_for(system.slurm._drain_runner.run(), 60)
    assert system.tools.orders == [
        "update nodename=slot-1 state=drain reason=autopilot: lifetime",
        "delete nodename=slot-1",
    ]
    assert system.cues.count(Drained()) == 1


async def test_an_eviction(folder: Path) -> None:
    """An idle node is closed and removed, in this order, and the supervisor is told once though it asks twice."""
    system = System(folder, DRAINED)
    await system.slurm.prepare()
    system.slurm.evict()
    system.slurm.evict()
    await system.finish_tasks()
    assert system.tools.orders == [
        "update nodename=slot-1 state=drain reason=autopilot: stopped",
        "delete nodename=slot-1",
    ]
    assert system.cues.count(Evicted()) == 1


async def test_an_eviction_without_a_controller(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An eviction whose orders hang is over all the same."""
    monkeypatch.setattr(job_return, "COMMAND_TIMEOUT_S", 0.05)
    system = System(folder)
    await system.slurm.prepare()
    system.slurm.evict()
    await asyncio.wait_for(system.finish_tasks(), 60)
    assert system.cues.count(Evicted()) == 1


async def test_an_array_is_requeued_by_its_tasks(folder: Path) -> None:
    """The job whose raw id is that of its array is requeued alone, and one that slurmctld does not name is not."""
    system = System(folder, IDLE)
    await system.slurm.prepare()
    system.tools.queue = "100 1 slot-1 bob 100 7 N/A 0:07\n"
    assert "does not hold 104" in await system.slurm._job_return._requeue_known(("100", "104"), 60)
    assert system.tools.orders == ["requeue Incomplete 100_7"]
    system.tools.queue = ""
    assert await system.slurm._job_return._requeue_known(("100",), 60)
    assert len(system.tools.orders) == 1


async def test_the_node_of_another_host(folder: Path) -> None:
    """A node of the same name at another address gets no order: it is neither opened nor drained nor removed."""
    system = System(folder, ELSEWHERE)
    await system.slurm.prepare()
    await system.slurm._monitor.query()
    passed, output = await system.slurm.check("node", 60)
    assert not passed and "slot-1 at 192.0.2.7, which is not this host: give each node" in output
    assert await system.slurm._job_return._try_requeue(("7",))
    assert (await system.slurm._drain_runner._take_snapshot()).record is None
    system.slurm.evict()
    await system.finish_tasks()
    assert system.tools.orders == []
    assert system.cues.count(Evicted()) == 1


async def test_a_node_behind_address_translation(folder: Path) -> None:
    """An address that the job spec gives the node is its own, though this host does not have it."""
    system = System(folder, ELSEWHERE, settings={"NodeAddr": "192.0.2.7"})
    await system.slurm.prepare()
    assert (await system.slurm.check("node", 60))[0]


async def test_a_node_without_the_right_to_give_orders(folder: Path) -> None:
    """It is told at once that orders are refused, not first at the drain; the right that is given ends this."""
    system = System(folder, IDLE)
    await system.slurm.prepare()
    system.tools.refusal = "slurm_update error: Access/permission denied\n"
    await system.slurm._monitor.query()
    assert "jobs cannot be given back" in system.slurm.get_status()["troubles"]["orders-refused"]
    system.tools.refusal = ""
    await system.slurm._monitor.query()
    await system.slurm._monitor.query()
    assert system.slurm.get_status()["troubles"] == {}
    assert system.tools.orders == ["update nodename=slot-1 comment="] * 2


@pytest.mark.parametrize(
    ("record", "refusal"),
    [
        (IDLE.replace("ThreadsPerCore", "Comment=by anna ThreadsPerCore"), ""),
        (IDLE, "Invalid comment"),  # an answer about something else
    ],
)
async def test_the_right_to_give_orders_is_asked_with_care(folder: Path, record: str, refusal: str) -> None:
    """A comment of somebody is not overwritten, and another error is no refusal."""
    system = System(folder, record)
    await system.slurm.prepare()
    system.tools.refusal = refusal
    await system.slurm._monitor.query()
    assert system.slurm.get_status()["troubles"] == {}
    assert len(system.tools.orders) == bool(refusal)


async def test_a_guessed_name_has_its_own_remedy(folder: Path) -> None:
    """A node that slurmctld does not know by the host's name needs `-N`, not more dynamic nodes."""
    state = System(folder, UNKNOWN).slurm._node_state
    state.answer = ControllerAnswer(True)
    state.processes = SlurmProcesses(slurmd=1)
    monitor = SlurmMonitor(state, (), lambda: None)
    assert "(-N NAME)" in str(monitor._find_registration_problem())
    state.fix_name("slot-1")
    assert "MaxNodeCount" in str(monitor._find_registration_problem())
