"""The access point's adapter with a stand-in for HTCondor's tools: what it refuses, asks for and reports."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from autopilot.adapters.batch.batch_system import OutsideProblem, SupervisorServices
from autopilot.adapters.batch.htcondor import preflight
from autopilot.adapters.batch.htcondor.access_point import access_point_system, queue_drain, spool_claim
from autopilot.adapters.batch.htcondor.access_point.access_point_settings import AccessPointSettings
from autopilot.adapters.batch.htcondor.access_point.access_point_system import AccessPointSystem
from autopilot.machines.cues import ConditionDetected, ConditionResolved, Cue, Drained, Evicted
from autopilot.runtime.command_runner import MAX_OUTPUT_BYTES, CommandResult
from autopilot.spec.plan import Command

Make = Callable[..., AccessPointSystem]


class FakeTools:
    """HTCondor's tools before a schedd whose queue and configuration the test sets."""

    def __init__(self, tmp_path: Path) -> None:
        self.folder = tmp_path
        self.jobs, self.unmade = 0, 0
        self.submit_environment = ""  # of a user's submit file
        self.requirements, self.requirement = "", ""  # SUBMIT_REQUIREMENT_NAMES and ours, as the schedd has them
        self.obeys = True  # condor_reconfig has an effect
        self.answers: dict[str, tuple[int, str]] = {}  # by the first word; other tools succeed without a word
        self.silent = ""  # the tool that never ends
        self.commands: list[str] = []
        self.on_command: Callable[[str], None] = lambda _: None

    async def run(self, command: Command, *, timeout: float, name: str) -> CommandResult:
        line = " ".join(command.argv)
        self.commands.append(line)
        self.on_command(line)
        if line.startswith("condor_reconfig") and self.obeys:
            self.requirements, self.requirement = "Site, AutopilotDrain", self.read_requirement()
        status, output = self.answers.get(command.argv[0]) or (0, self.get_output(line))
        return CommandResult(status, output[-MAX_OUTPUT_BYTES:], command.argv[0] == self.silent, 0.0)

    def read_requirement(self) -> str:
        """Return the requirement in the configuration file."""
        lines = (self.folder / "config/50-autopilot.conf").read_text().splitlines()
        marker = "SUBMIT_REQUIREMENT_AutopilotDrain = "
        return next((line.removeprefix(marker) for line in lines if line.startswith(marker)), "")

    def get_output(self, line: str) -> str:
        if "-macro" in line:
            names = ("RUN", "LOCK", "LOG", "SPOOL", "EXECUTE")
            values = {name: str(self.folder / name.lower()) for name in names} | {"SCHEDD_NAME": "ap@pool"}
            return "autopilot:" + "\x1f".join(f"{name}={value}" for name, value in values.items())
        if "-schedd SUBMIT_REQUIREMENT_" in line:
            return f"{self.requirements if line.endswith('_NAMES') else self.requirement}\n"
        if "-factory" in line:
            ads = [{"TotalSubmitProcs": self.unmade, "Environment": self.submit_environment}] if self.unmade else []
            if "-attributes" in line:
                asked = line.rpartition("-attributes ")[2].split(",")
                ads = [{name: value for name, value in ad.items() if name in asked} for ad in ads]
            return json.dumps(ads, indent=1) if ads else ""
        return json.dumps([{"AllusersJobs": self.jobs, "AllusersIdle": self.jobs}]) if "-totals" in line else ""


async def run_once(_name: str, observe: Callable[[], Awaitable[None]]) -> None:
    """Await an observer, once: a test sees its failure."""
    await observe()


@pytest.fixture
def tools(tmp_path: Path) -> FakeTools:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/condor_master").write_text("#!/bin/sh\n")
    (tmp_path / "bin/condor_master").chmod(0o755)
    return FakeTools(tmp_path)


@pytest.fixture
def cues() -> list[Cue]:
    return []


@pytest.fixture
def make(tmp_path: Path, tools: FakeTools, cues: list[Cue], monkeypatch: pytest.MonkeyPatch) -> Make:
    monkeypatch.setattr(spool_claim, "VOLATILE_TYPES", ())  # the tests' folder may be on any file system
    monkeypatch.setattr(preflight, "get_condor_ids", lambda _settings: (os.getuid(), os.getgid()))
    monkeypatch.setattr(access_point_system, "SPOOL_WAIT_S", 0.0)
    monkeypatch.setattr(queue_drain, "compute_pause", lambda *_: 0.0)

    def build(life: str = "first", **settings: Any) -> AccessPointSystem:
        services = SupervisorServices(
            command_runner=tools,
            report=cues.append,
            start_task=asyncio.ensure_future,
            run_observer=run_once,
            life_id=life,
            state_directory=tmp_path / "state",
            env={"PATH": str(tmp_path / "bin")},
        )
        path = str(tmp_path / "config/50-autopilot.conf")
        return AccessPointSystem(AccessPointSettings(path=path, poll=0.01, **settings), services)

    return build


async def test_preparation_claims_the_spool(make: Make, tmp_path: Path) -> None:
    """A fresh container gets its directories and its configuration, and no second life gets the same spool."""
    first = make(name="ap@pool")
    assert await first.prepare() == []
    assert "SCHEDD_NAME = ap@pool" in (tmp_path / "config/50-autopilot.conf").read_text()
    assert await first.prepare() == [], "the same life may prepare again"
    (problem,) = await make("second").prepare()
    assert isinstance(problem, OutsideProblem) and "is in use by another access point (ap@pool on " in problem


async def test_handover_needs_a_volume(make: Make, cues: list[Cue], monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a volume a handover refuses to start; the other drain only tells of it."""
    monkeypatch.setattr(spool_claim, "find_volume_problem", lambda *_, **__: "SPOOL = /s is on the overlay of /")
    (problem,) = await make(ending="handover").prepare()
    assert problem.startswith("SPOOL = /s is on the overlay of /; without it there is nothing to hand over")
    assert await make(ending="queue").prepare() == []
    assert [cue.kind for cue in cues if isinstance(cue, ConditionDetected)] == ["spool-not-kept"]


async def test_spool_of_another_name(make: Make, tools: FakeTools, tmp_path: Path) -> None:
    """The queue of one access point is not given to one of another name."""
    (tmp_path / "spool").mkdir()
    before = spool_claim.SpoolClaim()
    before.try_take(tmp_path / "spool", spool_claim.build_record("other@pool", "old"))
    before.release()
    (problem,) = await make().prepare()
    assert 'set access_point.name to "other@pool"' in problem


@pytest.mark.parametrize(
    ("code", "is_outside", "remedy"),
    [(code, True, "look at its volume") for code in (errno.ENOSPC, errno.EIO, errno.ESTALE, errno.ENOLCK)]
    + [(code, False, "mount it writable") for code in (errno.EROFS, errno.EACCES, errno.EPERM)],
)
async def test_sick_disk_is_no_fault_of_the_image(
    make: Make, monkeypatch: pytest.MonkeyPatch, code: int, is_outside: bool, remedy: str
) -> None:
    """A disk that fails ends the life with 75 and its own remedy, a mount that is not writable with 78."""
    for owner, name in ((spool_claim.SpoolClaim, "try_take"), (preflight, "_make_directory")):
        monkeypatch.setattr(owner, name, Mock(side_effect=OSError(code, os.strerror(code))))
        problems = await make().prepare()
        assert problems and all(isinstance(problem, OutsideProblem) is is_outside for problem in problems)
        assert all(os.strerror(code) in problem and remedy in problem for problem in problems)


# of condor_ping; is the schedd alive?
ANSWERS = [
    ((0, "Remote Mapping: condor@pool\nAuthorized: TRUE\n"), True),
    ((1, 'READ failed!\nSECMAN:2010:Received "DENIED" from server for user condor@pool using method FS.\n'), True),
    ((1, "READ failed!\nAUTHENTICATE:1003:Failed to authenticate with any method\n"), True),
    ((1, "ERROR: failed to make connection to <10.0.0.9:9618>\n"), False),
    # the port is another daemon's by now
    ((1, "READ failed!\nSECMAN:2011:Connection closed during command authorization.\n"), False),
]


@pytest.mark.parametrize(("answer", "is_alive"), ANSWERS)
@pytest.mark.parametrize("place", ["pool", "spool"])
async def test_live_schedd_is_found(
    make: Make, tools: FakeTools, place: str, answer: tuple[int, str], is_alive: bool
) -> None:
    """A schedd of this name, or one that has this spool, keeps this one from starting while it answers, also with a
    refusal; a dead one does not.
    """
    if place == "pool":
        tools.answers["condor_status"] = (0, 'Name = "ap@pool"\nMyAddress = "<10.0.0.9:9618>"\n\n')
    else:
        tools.answers["condor_status"] = (1, "the collector is away")
        (tools.folder / "spool").mkdir()
        (tools.folder / "spool/.schedd_address").write_text("<10.0.0.9:9618>\n$CondorVersion: 23.9.6 $\n")
    tools.answers["condor_ping"] = answer
    problems = await make().prepare()
    assert bool(problems) is is_alive
    assert all(isinstance(problem, OutsideProblem) and "answers at <10.0.0.9:9618>" in problem for problem in problems)


async def test_silent_schedd_is_alive_while_it_holds_its_port(make: Make, tools: FakeTools, tmp_path: Path) -> None:
    """A schedd too busy to answer in time keeps this one from starting; the address of one that is gone does not."""
    (tmp_path / "spool").mkdir()
    tools.silent = "condor_ping"
    server = socket.create_server(("127.0.0.1", 0))
    with server:
        address = f"<127.0.0.1:{server.getsockname()[1]}?sock=schedd_26_698d>"
        (tmp_path / "spool/.schedd_address").write_text(f"{address}\n")
        (problem,) = await make().prepare()
    assert isinstance(problem, OutsideProblem) and f"answers at {address}" in problem
    assert await make().prepare() == []


@pytest.mark.parametrize("text", ["", "\n<10.0.0.9:9618>", "10.0.0.9:9618", "-a b\n", "<" + "x" * 5000 + ">"])
def test_address_that_is_none(tmp_path: Path, text: str) -> None:
    """Anything else in the address file, or a file that is none, is no address."""
    path = tmp_path / ".schedd_address"
    path.write_text(text)
    assert spool_claim.read_schedd_address(tmp_path) == ""
    path.unlink()
    os.mkfifo(path)
    assert spool_claim.read_schedd_address(tmp_path) == ""


async def test_drain_waits_for_the_queue(make: Make, tools: FakeTools, cues: list[Cue]) -> None:
    """The drain sees that new jobs are refused, waits for the jobs and for those still to be made, and is done then."""
    system = make()
    assert await system.prepare() == []
    system.on_started(os.getpid())
    tools.jobs, tools.unmade = 2, 1
    tools.obeys = False
    looks: list[str] = []

    def answer(line: str) -> None:
        if line.startswith("condor_reconfig") and len([one for one in tools.commands if one == line]) == 3:
            tools.obeys = True  # at the third attempt
        if "-totals" in line and "AutopilotDrain" in tools.requirements:
            looks.append(tools.requirement)
            tools.jobs, tools.unmade = [(2, 1), (0, 1), (1, 0), (0, 0)][min(len(looks) - 1, 3)]

    tools.on_command = answer
    system.begin_drain("drain")
    async with asyncio.timeout(60):
        await system._run_drain()
    assert [cue for cue in cues if isinstance(cue, Drained)] == [Drained()]
    kinds = [(type(cue), cue.kind) for cue in cues if isinstance(cue, ConditionDetected | ConditionResolved)]
    assert kinds == [(ConditionDetected, "drain"), (ConditionResolved, "drain")]
    assert [look.split()[0] for look in looks] == ["QDate"] * 4 + ["false"] * 2, "the last looks count"
    status = system.get_status()
    assert status["refusing_jobs"] and status["drain"] == "the queue is empty: no job"


async def test_job_accepted_after_the_queue_was_empty_is_waited_for(
    make: Make, tools: FakeTools, cues: list[Cue]
) -> None:
    """A job that a slow clock lets in until every job is refused is not lost: the drain waits for it, and for what it
    still makes.
    """
    system = make()
    assert await system.prepare() == []
    system.on_started(os.getpid())
    requirements: list[str] = []

    def answer(line: str) -> None:
        if line.startswith("condor_reconfig"):
            requirements.append(tools.read_requirement().split()[0])
            tools.jobs = 1 if requirements == ["QDate", "false"] else tools.jobs
            tools.obeys = requirements[-2:] != ["QDate", "false"]  # the schedd still has the old value for a while
        if "-totals" in line and len(requirements) > 3 and requirements[-1] == "QDate":
            tools.jobs = 0  # the job finishes under the first refusal
        assert not cues, "never done with a job in the queue"

    tools.on_command = answer
    system.begin_drain("drain")
    async with asyncio.timeout(60):
        await system._run_drain()
    assert requirements == ["QDate", "false", "false", "QDate", "false", "false"]
    assert cues == [Drained()] and tools.jobs == 0


async def test_silent_schedd_never_counts_as_empty(make: Make, tools: FakeTools, cues: list[Cue]) -> None:
    """While condor_q fails, the drain goes on waiting, and the status has no queue."""
    system = make()
    assert await system.prepare() == []
    tools.answers["condor_q"] = (1, "Failed to connect")
    failures: list[str] = []
    recovered = asyncio.Event()

    def answer(line: str) -> None:
        failures.extend([line] if line.startswith("condor_q") else [])
        if len(failures) > 20:
            recovered.set()

    tools.on_command = answer
    system.begin_drain("drain")
    drain = asyncio.ensure_future(system._run_drain())
    async with asyncio.timeout(60):
        await recovered.wait()
    assert not drain.done() and not cues
    assert system.get_status()["queue"] is None
    del tools.answers["condor_q"]
    async with asyncio.timeout(60):
        await drain
    assert cues == [Drained()]


async def test_ends_that_need_no_drain(make: Make, cues: list[Cue]) -> None:
    """A handover, a deadline and an ordered stop ask for nothing: the stop of condor_master keeps the jobs."""
    handover, queue = make(ending="handover"), make()
    handover.begin_drain("lifetime")
    queue.soft_stop()
    queue.evict()
    queue.hard_stop()
    queue.last_resort()
    assert cues == [Drained(), Drained(), Evicted()]


@pytest.mark.parametrize(
    ("aspect", "expected"),
    [
        ("schedd", (True, "condor_schedd has 3 idle")),
        ("pool", (True, "the collector knows ap@pool")),
        ("master", (False, "condor_master does not run")),
    ],
)
async def test_checks(make: Make, tools: FakeTools, aspect: str, expected: tuple[bool, str]) -> None:
    """Each aspect is answered with a sentence."""
    system = make()
    assert await system.prepare() == []
    tools.jobs = 3
    tools.answers["condor_status"] = (0, 'Name = "ap@pool"\n\n')
    assert await system.check(aspect, 5.0) == expected


async def test_no_submit_file_hides_the_queue(make: Make, tools: FakeTools) -> None:
    """A user's long environment does not make the answer longer than the output that is kept of a tool."""
    system = make()
    assert await system.prepare() == []
    tools.unmade, tools.submit_environment = 3, "x" * 2 * MAX_OUTPUT_BYTES
    assert await system.check("schedd", 5.0) == (True, "condor_schedd has 3 not yet materialized")


@pytest.mark.parametrize("limit", [0, 1 << 60])
async def test_check_of_the_space(make: Make, limit: int) -> None:
    """The check `space` compares SPOOL and LOG with their limits."""
    system = make(min_spool=limit, min_log=0)
    assert await system.prepare() == []
    passed, output = await system.check("space", 5.0)
    assert passed is (limit == 0)
    assert passed or "lower access_point.min_spool" in output


async def test_refused_token_is_explained(make: Make, tools: FakeTools) -> None:
    """When the collector refuses the schedd's ads, the check of the pool says so in HTCondor's words."""
    system = make()
    assert await system.prepare() == []
    tools.answers["condor_ping"] = (1, "ADVERTISE_SCHEDD command DENIED")
    passed, output = await system.check("pool", 5.0)
    assert not passed and "the collector refuses its ads (ADVERTISE_SCHEDD command DENIED)" in output
