"""HTCondor, as the supervisor sees it: told what to do, answers with cues.

prepare() -> (master started: environment(), master_started()) -> watch() in the background
begin_drain() ... Drained            payloads finish
soften(), harden()                   the deadline's two steps
evict() ... Evicted                  an ordered stop that does not wait for payloads
last_resort()                        our own end, whatever the reason: no payload may stay in limbo
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from autopilot.adapters.batch.htcondor import node_config, preflight
from autopilot.adapters.batch.htcondor.condor_commands import CondorCommands
from autopilot.adapters.batch.htcondor.daemons import Daemons, find_daemons, send_signal
from autopilot.adapters.batch.htcondor.drain_runner import DrainRunner
from autopilot.adapters.batch.htcondor.kernel_events import wait_until_ended
from autopilot.adapters.batch.htcondor.master_heartbeat import NotifySocket
from autopilot.adapters.batch.htcondor.node_monitor import HEARTBEAT_TIMEOUT_S, NodeMonitor, find_space_problem
from autopilot.adapters.batch.htcondor.node_state import NodeState
from autopilot.adapters.batch.htcondor.pool_membership import PoolMembership
from autopilot.machines.cues import Cue, Evicted
from autopilot.process import cgroup
from autopilot.runtime.command_runner import CommandRunner
from autopilot.spec.plan import Htcondor as HtcondorPlan
from autopilot.spec.plan import Lifetime

if TYPE_CHECKING:
    from autopilot.api.messages import HtcondorAdapterStatus

EVICT_TIMEOUT_S = 1.2  # s from SIGTERM to the starters to SIGQUIT to the master: a job that obeys is gone in 0.1 s
SCHEDD_DELAY_S = 0.3  # s; seen: 0.06 s from a starter's end to its job being Idle
DEFAULT_GRACEFUL_TIMEOUT_S = 1800  # s, SHUTDOWN_GRACEFUL_TIMEOUT as HTCondor ships it

Aspect = Literal["startd", "pool", "master", "space"]


class HtcondorSystem:
    """`life` is this life's unique id; `state` where we may keep files; `env` the supervisor's own environment."""

    own_pid_variables: ClassVar[tuple[str, ...]] = ("WATCHDOG_PID",)  # sd_watchdog_enabled(3): the pid that is to speak

    def __init__(
        self,
        plan: HtcondorPlan,
        lifetime: Lifetime | None,
        *,
        command_runner: CommandRunner,
        report: Callable[[Cue], None],
        state_directory: Path,
        life_id: str,
        env: Mapping[str, str],
    ) -> None:
        self._plan, self._lifetime, self._life_id, self._env = plan, lifetime, life_id, env
        self._commands = CondorCommands(command_runner)
        self._node_state = NodeState(plan, self._commands, report)
        self._membership = PoolMembership(self._node_state)
        self._drain_runner = DrainRunner(self._node_state)
        self._node_monitor = NodeMonitor(
            self._node_state, self._membership, self._drain_runner.node_changed.set, self._refuse_jobs
        )
        self._notify_socket = NotifySocket(
            f"autopilot/{os.getpid()}/{life_id}"[:100],
            get_allowed_pids=lambda: {self._node_state.leader_pid, self._node_state.daemons.master},
            on_message=self._record_heartbeat,
        )
        self._overrides: dict[str, str] = {}
        self._refusing_jobs = False
        self._evict_task: asyncio.Task[None] | None = None

    # --- before condor_master ---

    async def prepare(self) -> list[str]:
        """Write the configuration, make the directories, copy the tokens, and look whether a master can work here. One
        line for each problem, with its remedy; [] means go. May be called again after a wait."""
        problems = preflight.check_installation(self._env) or await preflight.check_names(self._commands, None)
        problems += self._write_configuration()
        if problems:  # without a name of its own even condor_config_val may take minutes
            return problems
        settings, problem = await self._commands.read_settings()
        if problem:
            return [f"{problem}; look at `condor_config_val -config`"]
        self._node_state.settings = settings
        self._set_overrides(settings)
        folder = preflight.get_token_directory(settings, self._env)
        source = self._plan.node.token if self._plan.node else None
        return [
            *await preflight.check_names(self._commands, settings.get("COLLECTOR_HOST")),
            *preflight.prepare_directories(settings),
            *(
                preflight.copy_tokens(source, folder)
                or preflight.check_tokens(folder, settings, expected=source is not None)
            ),
        ]

    def _write_configuration(self) -> list[str]:
        plan = self._plan.node
        if plan is None:
            return []
        limits, usable = cgroup.read_limits(), len(os.sched_getaffinity(0))
        host = plan.condor_host or self._env.get("CONDOR_HOST")
        node = node_config.NodeSettings(
            condor_host=host,
            name=node_config.build_node_name(plan.name, self._life_id, self._env.get("AUTOPILOT_SLOT")),
            cpus=max(1, int(plan.cpus)) if plan.cpus is not None else cgroup.compute_whole_cpus(limits.cpus, usable),
            memory=plan.memory // cgroup.BYTES_PER_MIB
            if plan.memory
            else cgroup.compute_job_memory(limits.memory, cgroup.read_machine_memory()),
            retirement=node_config.compute_retirement(self._lifetime),
            domain=node_config.get_domain(host),
            accept_jobs=not self._refusing_jobs,
        )
        path = Path(plan.path)
        try:
            text = node_config.render(node, plan.settings)
            path.parent.mkdir(parents=True, exist_ok=True)
            draft = path.with_name(f".{path.name}.new")
            draft.write_text(text)
            draft.chmod(0o644)
            draft.rename(path)
        except node_config.InvalidSettingError as bad:
            return [f"htcondor.node: {bad}"]
        except OSError as error:
            return [f"htcondor.node.path: cannot write {path}: {error.strerror}; make its directory writable"]
        return []

    def _set_overrides(self, settings: Mapping[str, str]) -> None:
        """An image that configures no retirement gets it by environment, else the fallback drain would evict at
        once."""
        retirement = node_config.compute_retirement(self._lifetime)
        if self._plan.node is None and settings.get("MAXJOBRETIREMENTTIME", "0") == "0":
            self._overrides["_CONDOR_MAXJOBRETIREMENTTIME"] = str(retirement)
            if settings.get("SHUTDOWN_GRACEFUL_TIMEOUT", str(DEFAULT_GRACEFUL_TIMEOUT_S)) == str(
                DEFAULT_GRACEFUL_TIMEOUT_S
            ):
                self._overrides["_CONDOR_SHUTDOWN_GRACEFUL_TIMEOUT"] = str(retirement + 3600)
        if self._plan.node is None and "STARTD_NOT_RESPONDING_TIMEOUT" not in settings:
            self._overrides["_CONDOR_STARTD_NOT_RESPONDING_TIMEOUT"] = "300"

    async def _refuse_jobs(self, refuse: bool) -> None:
        """A full EXECUTE puts each new job on hold within a second: take none until there is room again."""
        if self._plan.node is None or refuse == self._refusing_jobs:
            return
        self._refusing_jobs = refuse
        if not self._write_configuration():
            await self._commands.reconfigure_startd()

    # --- around condor_master ---

    def build_environment(self) -> dict[str, str]:
        """For condor_master's process, over everything else. WATCHDOG_USEC is in microseconds."""
        beats = {"NOTIFY_SOCKET": self._notify_socket.open(), "WATCHDOG_USEC": str(int(HEARTBEAT_TIMEOUT_S * 1e6))}
        return {**beats, **self._overrides}

    def record_master_start(self, pid: int) -> None:
        self._node_state.leader_pid, self._node_state.started_at = pid, asyncio.get_running_loop().time()
        self._membership.reset()
        self._node_state.changed.set()

    def handle_master_exit(self) -> None:
        """After a crash of the master its startd and starters would linger for 10 to 15 s and leave payloads behind.
        SIGQUIT gives the jobs back to their queues; starters first, they have the word with their schedd."""
        self._node_state.reset_daemons()
        self._quit_starters_and_startd(self._refresh_daemons())
        self._node_state.changed.set()

    async def watch(self) -> None:
        """The long-running part: listens, looks, asks, drains. Ends only by being cancelled."""
        loop = asyncio.get_running_loop()
        self._notify_socket.listen(loop)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._node_monitor.run_observation(), name="htcondor looks")
                group.create_task(self._node_monitor.run_queries(), name="htcondor asks")
                group.create_task(self._drain_runner.run(), name="htcondor drain")
        finally:
            self._notify_socket.close(loop)

    def _record_heartbeat(self, message: bytes) -> None:
        self._node_state.heartbeat = self._node_state.heartbeat.apply_message(
            message, asyncio.get_running_loop().time()
        )

    # --- questions ---

    async def check(self, aspect: Aspect, timeout: float) -> tuple[bool, str]:
        """One health check and one sentence about it. Never raises for what HTCondor does, never longer than
        `timeout` s."""
        try:
            async with asyncio.timeout(timeout):
                return await self._check_aspect(aspect, timeout)
        except TimeoutError:
            return False, f"no answer about {aspect} within {timeout:g} s"

    async def _check_aspect(self, aspect: Aspect, timeout: float) -> tuple[bool, str]:
        self._node_state.refresh(asyncio.get_running_loop().time())
        match aspect:
            case "startd":
                return await self._node_monitor.query_startd(timeout * 0.9)
            case "pool":
                return await self._membership.check(timeout * 0.8)
            case "master":
                return await self._check_master(timeout * 0.9)
            case "space":
                bad = [line for name in ("EXECUTE", "LOG") if (line := find_space_problem(self._node_state, name))]
                return not bad, "; ".join(bad) or "EXECUTE and LOG have room"

    async def _check_master(self, timeout: float) -> tuple[bool, str]:
        now, picture = asyncio.get_running_loop().time(), self._node_state
        if picture.daemons.master is None:
            return False, "condor_master does not run"
        if problem := self._node_monitor.find_heartbeat_problem(now):
            return False, problem
        if (age := picture.heartbeat.compute_age(now)) is not None:
            return True, f"condor_master spoke {age:.0f} s ago: {picture.heartbeat.status or 'ready'}"
        if await self._commands.query_master(timeout):
            return True, "condor_master answers condor_who; it sends no heartbeat (yet)"
        return False, "condor_master neither sends its heartbeat nor answers condor_who"

    def get_status(self) -> HtcondorAdapterStatus:
        """What a status page shows. Plain data; times in seconds."""
        picture = self._node_state
        age = picture.heartbeat.compute_age(asyncio.get_running_loop().time())
        return {
            "payloads": list(picture.payloads or ()),
            "slots": [dict(slot) for slot in picture.slots],
            "in_pool": self._membership.joined,
            "pool": self._membership.explanation,
            "heartbeat_age": None if age is None else round(age, 1),
            "master": picture.daemons.master,
            "master_says": picture.heartbeat.status,
            "startd": picture.daemons.startd,
            "drain": f"{self._drain_runner.state.step.value}, {self._drain_runner.state.action.value}"
            if picture.draining
            else None,
            "refusing_jobs": self._refusing_jobs,
            "troubles": dict(picture.conditions.details),
        }

    # --- the end of a life ---

    def begin_drain(self, reason: str) -> None:
        self._drain_runner.begin(reason)

    def terminate_payloads(self) -> None:
        """Each starter gets SIGTERM: its job gets its own soft signal and time to clean up, then goes back to the
        queue."""
        for starter in self._refresh_daemons().starters:
            send_signal(starter, signal.SIGTERM)

    def kill_payloads(self) -> None:
        """SIGQUIT to condor_master: jobs are killed, and Idle in their queues within 0.1 s; the master is gone in 0.3
        s."""
        self.quit_master()

    def evict(self) -> None:
        """Give the jobs back within a container engine's grace; reports Evicted, then insists."""
        if self._evict_task is None:
            self._evict_task = asyncio.get_running_loop().create_task(self._run_eviction())

    async def _run_eviction(self) -> None:
        """The starters first, and the startd only once they are gone: a starter that is told to end while it still
        fetches its job's files crashes, and without a startd that says so the job stays in limbo."""
        loop = asyncio.get_running_loop()
        until = loop.time() + EVICT_TIMEOUT_S
        while (starters := self._refresh_daemons().starters) and loop.time() < until:
            self.terminate_payloads()
            await wait_until_ended(starters, until - loop.time())
            await asyncio.sleep(SCHEDD_DELAY_S)  # and perhaps sends the next job into the same claim: look again
        self._node_state.report(Evicted())
        self.quit_master()

    def evict_blocking(self) -> None:
        """As `evict`, without an event loop."""
        self.terminate_payloads()
        starters, until = self._node_state.daemons.starters, time.monotonic() + EVICT_TIMEOUT_S
        for starter in starters:
            with contextlib.suppress(ProcessLookupError):
                select.select([os.pidfd_open(starter)], [], [], max(0.0, until - time.monotonic()))
        if starters:
            time.sleep(SCHEDD_DELAY_S)
        self.quit_master()

    def quit_master(self) -> None:
        """SIGQUIT to condor_master, at once. With no master left, to what it left behind."""
        daemons = self._refresh_daemons()
        for pid in daemons.stopped:
            send_signal(pid, signal.SIGCONT)
        if daemons.master is None or self._node_state.conditions.is_active("startd-hung"):
            self._quit_starters_and_startd(
                daemons
            )  # a hung startd would keep the master from its jobs for SHUTDOWN_FAST_TIMEOUT
        if daemons.master is not None:
            send_signal(daemons.master, signal.SIGQUIT)

    def _quit_starters_and_startd(self, daemons: Daemons) -> None:
        """Starters first: they have the word with their schedd."""
        for pid in (*daemons.starters, daemons.startd):
            if pid is not None:
                send_signal(pid, signal.SIGQUIT)

    def _refresh_daemons(self) -> Daemons:
        self._node_state.daemons = find_daemons(self._node_state.leader_pid, os.getpid())
        return self._node_state.daemons
