"""The adapter with a stand-in for HTCondor's tools: limits, problems and what is asked for."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from autopilot.adapters.batch.batch_system import SupervisorServices
from autopilot.adapters.batch.htcondor import node_monitor as node_monitor_module
from autopilot.adapters.batch.htcondor import node_state as node_state_module
from autopilot.adapters.batch.htcondor.condor_commands import CondorCommands, find_refusal
from autopilot.adapters.batch.htcondor.daemons import Daemons
from autopilot.adapters.batch.htcondor.htcondor_settings import HtcondorNode, HtcondorSettings
from autopilot.adapters.batch.htcondor.htcondor_system import HtcondorSystem
from autopilot.adapters.batch.htcondor.node_config import RETIREMENT_S, build_life_variables
from autopilot.adapters.batch.htcondor.node_state import NodeState
from autopilot.adapters.batch.htcondor.pool_membership import PoolMembership
from autopilot.machines.cues import ConditionDetected, Cue, Drained, Evicted
from autopilot.runtime.command_runner import CommandResult
from autopilot.spec.plan import Command

TIMED_OUT = CommandResult(137, "", True, 10.0)
STARTD_PID = 4_190_000  # no process has it
SINFUL = "<10.0.0.2:9618?addrs=10.0.0.2-9618&sock=startd_1>"


class FakeRunner:
    """Answers by the command's name; a name without an answer hangs until its limit."""

    def __init__(self, answers: Mapping[str, tuple[int, str]]) -> None:
        self.answers = dict(answers)
        self.commands: list[tuple[str, ...]] = []

    async def run(self, command: Command, *, timeout: float, name: str) -> CommandResult:
        self.commands.append(command.argv)
        if command.argv[0] not in self.answers:
            await asyncio.sleep(timeout)
            return TIMED_OUT
        status, output = self.answers[command.argv[0]]
        return CommandResult(status, output, False, 0.0)


Make = Callable[..., HtcondorSystem]


async def run_once(_name: str, observe: Callable[[], Awaitable[None]]) -> None:
    """Await an observer, once: a test sees its failure."""
    await observe()


@pytest.fixture
def path(tmp_path: Path) -> str:
    """A PATH on which a condor_master is found."""
    master = tmp_path / "bin" / "condor_master"
    master.parent.mkdir()
    master.write_text("#!/bin/sh\n")
    master.chmod(0o755)
    return str(master.parent)


@pytest.fixture
def make(tmp_path: Path, path: str) -> Make:
    def build_adapter(
        runner: FakeRunner,
        report: Callable[[Cue], None] = lambda _: None,
        node: HtcondorNode | None = None,
        env: Mapping[str, str] | None = None,
        start_task: Callable[[Coroutine[Any, Any, None]], object] = asyncio.ensure_future,
    ) -> HtcondorSystem:
        services = SupervisorServices(
            command_runner=runner,
            report=report,
            start_task=start_task,
            run_observer=run_once,
            life_id=f"{os.getpid()}-{tmp_path.name}",
            state_directory=tmp_path / "state",
            env={"PATH": path, **(env or {})},
        )
        return HtcondorSystem(HtcondorSettings(node=node, poll=0.05), services)

    return build_adapter


@pytest.mark.parametrize("aspect", ["startd", "pool", "master", "space"])
async def test_a_probe_ends_in_time_though_every_tool_hangs(make: Make, tmp_path: Path, aspect: str) -> None:
    """Whatever HTCondor does, the answer is there within the limit, and is a sentence."""
    condor = make(FakeRunner({}))
    (tmp_path / "log").mkdir()
    (tmp_path / "log" / ".startd_address").write_text(SINFUL + "\n")
    condor._node_state.settings = {"LOG": str(tmp_path / "log"), "EXECUTE": str(tmp_path / "gone")}
    loop = asyncio.get_running_loop()
    began = loop.time()
    passed, output = await condor.check(aspect, 0.2)
    assert loop.time() - began < 30
    assert not passed
    assert len(output) > 10


async def test_without_htcondor_one_line_says_so(make: Make, tmp_path: Path) -> None:
    """No other complaint follows from the missing program."""
    problems = await make(FakeRunner({"getent": (0, "10.0.0.1")}), env={"PATH": str(tmp_path)}).prepare()
    assert len(problems) == 1
    assert "install HTCondor" in problems[0]


async def test_an_unresolvable_own_name_stops_before_anything_slow(make: Make) -> None:
    """The daemons, and condor_config_val, would wait for minutes: it is not even called."""
    runner = FakeRunner({"getent": (2, "")})
    problems = await make(runner).prepare()
    assert len(problems) == 1
    assert "own name" in problems[0]
    assert [argv[0] for argv in runner.commands] == ["getent"]


def build_config_output(tmp_path: Path, **more: str) -> tuple[int, str]:
    values = {name: str(tmp_path / name.lower()) for name in ("RUN", "LOCK", "LOG", "SPOOL", "EXECUTE")} | more
    return 0, "WARNING: noise\nautopilot:" + "\x1f".join(f"{name}={value}" for name, value in values.items()) + "\n"


@pytest.mark.parametrize(("given", "passes"), [({}, True), ({"EXECUTE": "/gone", "LOG": "/gone"}, False)])
async def test_unknown_directories_have_no_problem(make: Make, given: dict[str, str], passes: bool) -> None:
    """A missing directory is a problem where HTCondor's configuration names it, not where the place is a guess."""
    condor = make(FakeRunner({}))
    condor._node_state.settings = given
    assert (await condor.check("space", 5.0))[0] is passes


async def test_missing_directories_are_made(make: Make, tmp_path: Path) -> None:
    """A fresh container has none of them; afterwards there is nothing to complain about."""
    answers = {"getent": (0, ""), "condor_config_val": build_config_output(tmp_path, COLLECTOR_HOST="cm.pool")}
    assert await make(FakeRunner(answers)).prepare() == []
    assert all((tmp_path / name).is_dir() for name in ("run", "lock", "log", "spool", "execute"))


async def test_all_problems_come_in_one_pass(make: Make, tmp_path: Path) -> None:
    """A directory that cannot be made and a token that is not there: two lines, each with what to do."""
    (tmp_path / "file").write_text("")
    required = {"SEC_DEFAULT_AUTHENTICATION": "required", "SEC_TOKEN_SYSTEM_DIRECTORY": str(tmp_path / "tokens.d")}
    blocked = build_config_output(tmp_path, SPOOL=str(tmp_path / "file" / "spool"), COLLECTOR_HOST="cm", **required)
    problems = await make(
        FakeRunner({"getent": (0, ""), "condor_config_val": blocked}), env={"HOME": str(tmp_path)}
    ).prepare()
    assert len(problems) == 2
    assert problems[0].startswith("SPOOL = ")
    assert "condor_token_create" in problems[1]


async def test_an_image_without_retirement_gets_it_by_environment(make: Make, tmp_path: Path) -> None:
    """The fallback drain must not evict at once; an admin's own value is left alone."""
    answers = {"getent": (0, ""), "condor_config_val": build_config_output(tmp_path, MAXJOBRETIREMENTTIME="0")}
    condor = make(FakeRunner(answers))
    await condor.prepare()
    given = condor.build_environment()
    assert given["_CONDOR_MAXJOBRETIREMENTTIME"] == str(RETIREMENT_S)
    assert given["_CONDOR_SHUTDOWN_GRACEFUL_TIMEOUT"] == str(RETIREMENT_S + 3600)
    condor._notify_socket.close(asyncio.get_running_loop())
    answers["condor_config_val"] = build_config_output(
        tmp_path, MAXJOBRETIREMENTTIME="60", STARTD_NOT_RESPONDING_TIMEOUT="9"
    )
    other = make(FakeRunner(answers))
    await other.prepare()
    added = {name for name in other.build_environment() if name.startswith("_CONDOR")}
    assert added == build_life_variables({}, "").keys()
    other._notify_socket.close(asyncio.get_running_loop())


async def test_the_startd_is_started_by_its_guard(make: Make, tmp_path: Path) -> None:
    """condor_master gets the guard's path in place of the startd's, where it has a startd at all."""
    answers = {"getent": (0, ""), "condor_config_val": build_config_output(tmp_path, STARTD="/bin/sh")}
    condor = make(FakeRunner(answers))
    assert await condor.prepare() == []
    guard = Path(condor.build_environment()["_CONDOR_STARTD"])
    assert guard.parent == tmp_path / "state" and os.access(guard, os.X_OK)
    condor._notify_socket.close(asyncio.get_running_loop())
    answers["condor_config_val"] = build_config_output(tmp_path)
    other = make(FakeRunner(answers))
    await other.prepare()
    assert "_CONDOR_STARTD" not in other.build_environment()
    other._notify_socket.close(asyncio.get_running_loop())


@pytest.mark.parametrize(("startd", "blocked"), [("/bin/sh", True), ("/opt/my condor/startd", False)])
async def test_a_startd_without_a_guard(make: Make, tmp_path: Path, startd: str, blocked: bool) -> None:
    """A guard that cannot be written is a condition; the node works without it."""
    if blocked:
        (tmp_path / "state").write_text("")
    answers = {"getent": (0, ""), "condor_config_val": build_config_output(tmp_path, STARTD=startd)}
    said: list[Cue] = []
    condor = make(FakeRunner(answers), said.append)
    assert await condor.prepare() == []
    assert "_CONDOR_STARTD" not in condor.build_environment()
    condor._notify_socket.close(asyncio.get_running_loop())
    assert [cue.kind for cue in said if isinstance(cue, ConditionDetected)] == ["startd-unguarded"]


class Silence(NamedTuple):
    """A startd without an answer: its configured timeout, and the wake-ups that are counted in turn."""

    timeout: str | None
    wakeups: list[int | None]
    is_stopped: bool = False


@pytest.mark.parametrize(
    ("startd", "is_killed"),
    [
        (Silence("300", [7]), True),
        (Silence(None, [7]), True),
        (Silence("1", [7]), True),
        (Silence("300", [7, 8]), False),  # it refuses our queries, and so wakes up
        (Silence("1", [7, 8]), False),
        (Silence("300", [7], is_stopped=True), False),  # it is continued
        (Silence("300", [None]), False),
        (Silence("60 * 5", [7]), False),  # an expression of HTCondor's
        (Silence("0", [7]), False),
        (Silence("-1", [7]), False),
    ],
)
async def test_only_a_startd_that_never_wakes_is_killed(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, startd: Silence, is_killed: bool
) -> None:
    """A startd without an answer for hours is killed if it never wakes up; a stopped one is continued."""
    condor = make(FakeRunner({"condor_status": (1, "timed out")}))
    node, loop = condor._node_state, asyncio.get_running_loop()
    node.settings = {"LOG": str(tmp_path)} | (
        {"STARTD_NOT_RESPONDING_TIMEOUT": startd.timeout} if startd.timeout else {}
    )
    (tmp_path / ".startd_address").write_text(SINFUL + "\n")
    node.daemons = Daemons(startd=STARTD_PID, stopped=frozenset({STARTD_PID} if startd.is_stopped else ()))
    counts, sent = itertools.cycle(startd.wakeups), []
    monkeypatch.setattr(node_monitor_module, "count_wakeups", lambda _: next(counts))
    monkeypatch.setattr(node_monitor_module, "send_signal", lambda pid, number: sent.append(number))
    now = loop.time()
    for _ in range(400):
        now += 30
        monkeypatch.setattr(loop, "time", lambda now=now: now)
        assert not (await condor._node_monitor.query_startd())[0]
    monkeypatch.undo()
    assert (signal.SIGKILL in sent) is is_killed
    assert (signal.SIGCONT in sent) is startd.is_stopped


async def test_a_setting_that_would_be_two_is_named(make: Make, tmp_path: Path) -> None:
    """Nothing is written, and the line says which."""
    node = HtcondorNode(path=str(tmp_path / "c" / "50.conf"), settings={"START": "True\nDAEMON_LIST = X"})
    problems = await make(FakeRunner({"getent": (0, "")}), node=node).prepare()
    assert len(problems) == 1
    assert "START" in problems[0]
    assert not (tmp_path / "c").exists()


async def test_an_eviction_that_fails_is_heard(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its background task fails, so the life knows; Evicted is said all the same, because the stop waits for it."""

    def fail(*_: object) -> Daemons:
        raise OSError("no /proc")

    monkeypatch.setattr(node_state_module, "find_daemons", fail)
    said: list[Cue] = []
    tasks: list[asyncio.Task[None]] = []
    condor = make(FakeRunner({}), said.append, start_task=lambda work: tasks.append(asyncio.create_task(work)))
    condor.evict()
    condor.evict()
    assert len(tasks) == 1
    with pytest.raises(OSError, match="no /proc"):
        await tasks[0]
    assert said == [Evicted()]


@pytest.mark.parametrize("log", ["", "slot1_1: State change: claim-activation protocol successful\n"])
async def test_an_eviction_waits_for_the_shadow(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, log: str
) -> None:
    """The startd lives on until StartLog tells that the shadow let go of the claim; an empty log binds nobody."""
    starter = await asyncio.create_subprocess_exec("sleep", "60")
    monkeypatch.setattr(
        node_state_module, "find_daemons",
        lambda *_: Daemons(starters=(starter.pid,) if starter.returncode is None else ()),
    )  # fmt: skip
    monkeypatch.setattr(node_state_module, "SHADOW_DELAY_S", 0.0)
    monkeypatch.setattr(node_state_module, "SHADOW_TIMEOUT_S", 60.0)
    (tmp_path / "StartLog").write_text(log)
    said: list[Cue] = []
    tasks: list[asyncio.Task[None]] = []
    condor = make(FakeRunner({}), said.append, start_task=lambda work: tasks.append(asyncio.create_task(work)))
    condor._node_state.settings = {"LOG": str(tmp_path), "EXECUTE": str(tmp_path)}
    condor.evict()
    await starter.wait()
    if log:
        await asyncio.sleep(0.3)
        assert Evicted() not in said
        with (tmp_path / "StartLog").open("a") as file:
            file.write("slot1_1: Called deactivate_claim()\n")
    await asyncio.wait_for(tasks[0], 30)
    assert Evicted() in said


async def test_a_node_without_a_master_is_drained_at_once(make: Make) -> None:
    """Nothing was started, so nothing can run; and the long-running part ends cleanly when it is cancelled."""
    said: list[Cue] = []
    condor = make(FakeRunner({}), said.append)
    condor.begin_drain("test")
    before = set(os.listdir("/proc/self/fd"))
    watch = asyncio.create_task(condor.monitor())
    async with asyncio.timeout(5):
        while Drained() not in said:
            await asyncio.sleep(0)
    watch.cancel()
    with pytest.raises(asyncio.CancelledError):
        await watch
    assert set(os.listdir("/proc/self/fd")) <= before


REFUSED = "ERROR: no ads\nAUTHENTICATE:1003:Failed\nAUTHENTICATE:1004:Failed to authenticate using IDTOKENS\n"


@pytest.mark.parametrize(
    ("output", "said"),
    [
        (REFUSED, "AUTHENTICATE:1004:Failed to authenticate using IDTOKENS"),
        ('SECMAN:2010:Received "DENIED" from server for user x@pool', "DENIED"),
        ("CEDAR:6001:Failed to connect to <10.0.0.1:9618>", None),
        ("", None),
    ],
)
def test_a_refusal_is_told_from_an_unreachable_manager(output: str, said: str | None) -> None:
    """The first is a token's fault, the second the network's."""
    found = find_refusal(output)
    assert found is None if said is None else said in str(found)


@pytest.mark.parametrize(
    ("status", "ping", "kind", "reconfigured"),
    [
        ((0, 'Name = "n@h"\nLastHeardFrom = 5\n'), (0, ""), None, 0),
        ((0, ""), (0, ""), "pool-membership", 1),
        ((1, REFUSED), (1, REFUSED), "pool-membership", 1),
        ((1, "CEDAR:6001:Failed to connect"), (1, ""), "manager-unreachable", 0),
    ],
)
async def test_membership_is_the_collectors_word(
    tmp_path: Path, status: tuple[int, str], ping: tuple[int, str], kind: str | None, reconfigured: int
) -> None:
    """Known, unknown, refused, unreachable: each has its trouble, and only an unknown node sends its ads again."""
    runner = FakeRunner({"condor_status": status, "condor_ping": ping, "condor_reconfig": (0, "")})
    said: list[Cue] = []
    node_state = NodeState(HtcondorSettings(), CondorCommands(runner), said.append)
    node_state.settings = {"LOG": str(tmp_path)}
    node_state.started_at = asyncio.get_running_loop().time() - 60
    (tmp_path / ".startd_address").write_text(SINFUL + "\n")
    membership = PoolMembership(node_state)
    await membership.query(1.0, 0.5)
    node_state.conditions._by_kind = {
        name: type(condition)(condition.since and condition.since - 60, condition.reported)
        for name, condition in node_state.conditions._by_kind.items()
    }
    membership._reconfigure_backoff = (
        membership._reconfigure_backoff.reset() if kind is None else membership._reconfigure_backoff
    )
    await membership.query(1.0, 0.5)
    assert [cue.kind for cue in said if isinstance(cue, ConditionDetected)] == ([kind] if kind else [])
    assert membership.joined is (kind is None)
    assert sum(argv[0] == "condor_reconfig" for argv in runner.commands) == reconfigured
    asked = next(argv for argv in runner.commands if argv[0] == "condor_status")
    assert f'MyAddress =?= "{SINFUL}"' in asked
