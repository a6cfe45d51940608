"""Implement the port of batch systems for HTCondor.

The parts of this package share a `NodeState`: `NodeMonitor` and `PoolMembership` keep it up to date, `DrainRunner`
empties the node, and this module ties them to the supervisor.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import signal
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from autopilot.adapters.batch.batch_system import SupervisorServices
from autopilot.adapters.batch.htcondor import guard_file, node_config, preflight, startd_guard
from autopilot.adapters.batch.htcondor.condor_commands import CondorCommands
from autopilot.adapters.batch.htcondor.daemons import Daemons
from autopilot.adapters.batch.htcondor.drain_runner import DrainRunner
from autopilot.adapters.batch.htcondor.free_space import find_space_problem
from autopilot.adapters.batch.htcondor.htcondor_settings import HtcondorSettings
from autopilot.adapters.batch.htcondor.master_heartbeat import NotifySocket
from autopilot.adapters.batch.htcondor.node_monitor import HEARTBEAT_TIMEOUT_S, NodeMonitor
from autopilot.adapters.batch.htcondor.node_state import NodeState
from autopilot.adapters.batch.htcondor.payload_limit import PayloadCount
from autopilot.adapters.batch.htcondor.pool_membership import PoolMembership
from autopilot.adapters.batch.htcondor.token_watch import TokenWatch
from autopilot.adapters.batch.kernel_events import wait_until_ended
from autopilot.adapters.batch.process_signals import send_signal
from autopilot.machines.cues import Evicted
from autopilot.process import cgroup
from autopilot.runtime.command_runner import describe_failure

if TYPE_CHECKING:
    from autopilot.api.messages import HtcondorAdapterStatus

EVICT_TIMEOUT_S = 1.2  # from SIGTERM to the starters to SIGQUIT to the master: a job that obeys is gone in 0.1 s
SHADOW_POLL_S = 0.05
RECONFIGURE_PATIENCE_S = 20.0  # a startd that is just starting takes no orders yet
DEFAULT_GRACEFUL_TIMEOUT_S = 1800  # SHUTDOWN_GRACEFUL_TIMEOUT as HTCondor ships it


class HtcondorSystem:
    """HTCondor's node in this container; implements `autopilot.adapters.batch.batch_system.BatchSystem`."""

    own_pid_variables: tuple[str, ...] = ("WATCHDOG_PID",)  # sd_watchdog_enabled(3): the pid that sends heartbeats

    def __init__(self, settings: HtcondorSettings, services: SupervisorServices) -> None:
        """Wire the parts; nothing is opened or asked yet.

        Args:
            settings: HTCondor's section of the plan.
            services: Parts of the supervisor.
        """
        self._settings, self._services = settings, services
        self._commands = CondorCommands(services.command_runner, services.job_env)
        self._node_state = NodeState(settings, self._commands, services.report)
        self._membership = PoolMembership(self._node_state)
        self._token_watch = TokenWatch(self._node_state.conditions, services.get_longest_rest)
        self._drain_runner = DrainRunner(self._node_state)
        self._node_monitor = NodeMonitor(
            self._node_state,
            self._membership,
            self._handle_refresh,
            self._adjust_acceptance,
            self._token_watch,
        )
        self._notify_socket = NotifySocket(
            f"autopilot/{os.getpid()}/{services.life_id}"[:100],
            get_allowed_pids=lambda: {self._node_state.leader_pid, self._node_state.daemons.master},
            on_message=self._record_heartbeat,
        )
        self._overrides: dict[str, str] = {}
        self._written_limit: tuple[int | None, PayloadCount] = (None, PayloadCount())
        self._refusing_jobs = False
        self._acceptance_in_effect: tuple[bool, int | None] = (
            False,
            None,
        )  # refusal and limit, as the startd read them
        self._evicting = False

    # --- before condor_master ---

    async def prepare(self) -> list[str]:
        """Write the configuration, make the directories, copy the tokens; check that a condor_master can work here.

        May be called again after a wait.

        Returns:
            One line for each problem, with its remedy; empty when condor_master can be started.
        """
        problems = preflight.check_installation(self._services.env) or await preflight.check_names(self._commands, None)
        problems += self._write_configuration()
        self._acceptance_in_effect = (self._refusing_jobs, self._written_limit[0])
        if problems:  # without a name of its own even condor_config_val may take minutes
            return problems
        settings, problem = await self._commands.read_settings()
        if problem:
            return [f"{problem}; look at `condor_config_val -config`"]
        self._node_state.settings = settings
        self._set_overrides(settings)
        self._overrides |= node_config.build_life_variables(settings, self._services.life_id)
        self._install_guard(settings.get("STARTD"))
        token_directory = preflight.get_token_directory(settings, self._services.env)
        source = self._settings.node.token if self._settings.node else None
        if source is not None or preflight.is_token_required(settings):
            self._node_state.token_directory = token_directory
            self._token_watch.begin(token_directory, source)
        problems = [
            *await preflight.check_names(self._commands, settings.get("COLLECTOR_HOST")),
            *preflight.prepare_directories(settings),
            *(
                preflight.copy_tokens(source, token_directory)
                or preflight.check_tokens(token_directory, settings, expected=source is not None)
            ),
        ]
        if not problems:
            self._token_watch.update(asyncio.get_running_loop().time())
        return problems

    def _write_configuration(self) -> list[str]:
        node = self._settings.node
        if node is None:
            return []
        limits, usable = cgroup.read_limits(), len(os.sched_getaffinity(0))
        host = node.condor_host or self._services.env.get("CONDOR_HOST")
        slot = self._services.env.get("AUTOPILOT_SLOT")
        settings = node_config.NodeSettings(
            condor_host=host,
            name=node_config.build_node_name(node.name, self._services.life_id, slot),
            cpus=max(1, int(node.cpus)) if node.cpus is not None else cgroup.compute_whole_cpus(limits.cpus, usable),
            memory=node.memory // cgroup.BYTES_PER_MIB
            if node.memory
            else cgroup.compute_job_memory(limits.memory, cgroup.read_machine_memory()),
            domain=node_config.get_domain(host),
            accept_jobs=not self._refusing_jobs,
            payload_limit=self._services.get_payload_limit(),
            payload_count=self._node_state.payload_count,
        )
        path = Path(node.path)
        try:
            text = node_config.render(settings, node.settings)
            path.parent.mkdir(parents=True, exist_ok=True)
            draft = path.with_name(f".{path.name}.new")
            draft.write_text(text)
            draft.chmod(0o644)
            draft.rename(path)
            self._written_limit = (settings.payload_limit, settings.payload_count)
        except node_config.InvalidSettingError as bad:
            return [f"htcondor.node: {bad}"]
        except OSError as error:
            return [f"htcondor.node.path: cannot write {path}: {error.strerror}; make its directory writable"]
        return []

    def _set_overrides(self, settings: Mapping[str, str]) -> None:
        """Give the retirement by environment where the image configures none.

        Without it the fallback drain (sequence A of `drain_steps`) would evict at once.
        """
        if self._settings.node is None and settings.get("MAXJOBRETIREMENTTIME", "0") == "0":
            self._overrides["_CONDOR_MAXJOBRETIREMENTTIME"] = str(node_config.RETIREMENT_S)
            if settings.get("SHUTDOWN_GRACEFUL_TIMEOUT", str(DEFAULT_GRACEFUL_TIMEOUT_S)) == str(
                DEFAULT_GRACEFUL_TIMEOUT_S
            ):
                self._overrides["_CONDOR_SHUTDOWN_GRACEFUL_TIMEOUT"] = str(node_config.GRACEFUL_TIMEOUT_S)
        if self._settings.node is None and "STARTD_NOT_RESPONDING_TIMEOUT" not in settings:
            self._overrides["_CONDOR_STARTD_NOT_RESPONDING_TIMEOUT"] = "300"

    def _install_guard(self, startd: str | None) -> None:
        """Let condor_master start the guard of `startd_guard` in place of the startd, where it has one."""
        self._overrides.pop("_CONDOR_STARTD", None)
        if startd is None:
            return
        services, problem = self._services, None
        others = services.main_user not in (None, "root", "0")
        guard = services.state_directory / startd_guard.NAME
        write = partial(guard_file.write_guard, guard, startd, for_others=others)
        try:
            write()
            self._overrides["_CONDOR_STARTD"] = str(guard)
            services.keep_file(guard, write)
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else error
            problem = (
                f"condor_startd runs without a guard: {reason}; when it is killed, the queue shows its payloads as "
                "running until their lease ends; see Lost payloads in docs/htcondor.md"
            )
        self._node_state.conditions.update("startd-unguarded", problem, asyncio.get_running_loop().time())

    def _handle_refresh(self) -> None:
        """Let the drain look at the node, and write the limit of payloads for a startd that may be started next.

        The one that runs goes on with its own limit: it does not read the file.
        """
        node, limit = self._node_state, self._services.get_payload_limit()
        node.has_payload_limit = limit is not None
        self._drain_runner.node_changed.set()
        if self._settings.node is None or limit is None or (limit, node.payload_count) == self._written_limit:
            return
        problem = "; ".join(self._write_configuration()) or None
        node.conditions.update("limit-not-written", problem, asyncio.get_running_loop().time())

    async def _adjust_acceptance(self, refuse: bool) -> None:
        """Let the startd read its configuration when it has to take no jobs, or another number of them.

        With a full EXECUTE each new job would go on hold within a second. A failure is tried again at the next call. A
        startd that does not run needs no order: it reads the configuration when it is started.
        """
        wanted = (refuse, self._services.get_payload_limit())
        if self._settings.node is None:
            return
        problem = None
        if wanted != self._acceptance_in_effect:
            self._refusing_jobs = refuse
            problem = "; ".join(self._write_configuration()) or None
            if problem is None and self._node_state.daemons.startd is not None:
                result = await self._commands.reconfigure_startd()
                if result.status == 0 and not result.timed_out:
                    self._acceptance_in_effect = wanted
                else:
                    problem = f"{describe_failure(result, 'condor_reconfig')}; condor_startd goes on as before"
        now = asyncio.get_running_loop().time()
        self._node_state.conditions.update("startd-not-reconfigured", problem, now, patience=RECONFIGURE_PATIENCE_S)

    # --- around condor_master ---

    def build_environment(self) -> dict[str, str]:
        """Return variables for condor_master, over all others: its heartbeat's socket and interval (microseconds)."""
        heartbeat = {"NOTIFY_SOCKET": self._notify_socket.open(), "WATCHDOG_USEC": str(int(HEARTBEAT_TIMEOUT_S * 1e6))}
        return {**heartbeat, **self._overrides}

    def build_arguments(self) -> tuple[str, ...]:
        """Return none: condor_master reads everything from its configuration."""
        return ()

    def on_starting(self) -> None:
        """Do nothing: `prepare` has cleared the way."""

    def on_started(self, pid: int) -> None:
        """Take note of condor_master, or of the wrapper that starts it."""
        self._node_state.leader_pid, self._node_state.started_at = pid, asyncio.get_running_loop().time()
        self._membership.reset()
        self._node_state.changed.set()

    def on_exited(self) -> None:
        """Give back the payloads that a crashed condor_master left behind.

        Its startd and starters would linger for 10 to 15 s.
        """
        self._node_state.record_master_end(asyncio.get_running_loop().time())
        self._node_state.reset_daemons()
        self._quit_starters_and_startd(self._refresh_daemons())
        self._node_state.changed.set()

    async def monitor(self) -> None:
        """Receive heartbeats, observe, ask and drain. Ends only by being cancelled."""
        loop = asyncio.get_running_loop()
        self._notify_socket.listen(loop)
        try:
            async with asyncio.TaskGroup() as group:
                run_observer, monitor = self._services.run_observer, self._node_monitor
                group.create_task(run_observer("node", monitor.run_observation), name="htcondor observation")
                group.create_task(run_observer("queries", monitor.run_queries), name="htcondor queries")
                group.create_task(self._drain_runner.run(), name="htcondor drain")
        finally:
            self._notify_socket.close(loop)

    def _record_heartbeat(self, message: bytes) -> None:
        self._node_state.heartbeat = self._node_state.heartbeat.apply_message(
            message, asyncio.get_running_loop().time()
        )

    # --- questions ---

    async def check(self, aspect: str, timeout_s: float) -> tuple[bool, str]:
        """Check one aspect of the node: `startd`, `pool`, `master` or `space`.

        Never raises when HTCondor fails, and never lasts longer than `timeout_s`.
        """
        try:
            async with asyncio.timeout(timeout_s):
                return await self._check_aspect(aspect, timeout_s)
        except TimeoutError:
            return False, f"no answer about {aspect} within {timeout_s:g} s"

    async def _check_aspect(self, aspect: str, timeout: float) -> tuple[bool, str]:
        self._node_state.refresh(asyncio.get_running_loop().time())
        match aspect:
            case "startd":
                if problem := self._node_monitor.find_helper_problem():
                    return False, problem
                return await self._node_monitor.query_startd(timeout * 0.9)
            case "pool":
                return await self._membership.check(timeout * 0.8)
            case "master":
                return await self._check_master(timeout * 0.9)
            case "space":
                problems = [line for name in ("EXECUTE", "LOG") if (line := find_space_problem(self._node_state, name))]
                return not problems, "; ".join(problems) or "EXECUTE and LOG have room"
        raise ValueError(f"no such aspect: {aspect}")

    async def _check_master(self, timeout: float) -> tuple[bool, str]:
        now, node = asyncio.get_running_loop().time(), self._node_state
        if node.daemons.master is None:
            return False, "condor_master does not run"
        if problem := self._node_monitor.find_heartbeat_problem(now):
            return False, problem
        if (age := node.heartbeat.compute_age(now)) is not None:
            return True, f"condor_master sent a heartbeat {age:.0f} s ago: {node.heartbeat.status or 'ready'}"
        if await self._commands.query_master(timeout):
            return True, "condor_master answers condor_who; it sends no heartbeat (yet)"
        return False, "condor_master neither sends its heartbeat nor answers condor_who"

    def get_status(self) -> HtcondorAdapterStatus:
        """Return the section of `autopilot status`: plain data, times in seconds."""
        node = self._node_state
        age = node.heartbeat.compute_age(asyncio.get_running_loop().time())
        return {
            "payloads": list(node.payloads or ()),
            "slots": [dict(slot) for slot in node.slots],
            "in_pool": self._membership.joined,
            "pool": self._membership.explanation,
            "heartbeat_age": None if age is None else round(age, 1),
            "master": node.daemons.master,
            "master_says": node.heartbeat.status,
            "startd": node.daemons.startd,
            "drain": f"{self._drain_runner.state.step.value}, {self._drain_runner.state.action.value}"
            if node.draining
            else None,
            "refusing_jobs": self._refusing_jobs,
            "troubles": dict(node.conditions.details),
        }

    # --- the end of a life ---

    def get_payload_pids(self) -> Mapping[str, int]:
        """Return the starter of each payload."""
        return self._node_state.get_payload_pids()

    def read_payload_id(self, pid: int) -> str | None:
        """Return the id of the job of a starter, also of one that has only just begun it."""
        return self._node_state.read_payload_id(pid)

    def begin_drain(self, reason: str) -> None:
        """Retire the startd: running jobs finish, none is taken; reports Drained."""
        self._drain_runner.begin(reason)

    def soft_stop(self) -> None:
        """Send SIGTERM to each starter.

        The job gets its own soft signal and time to clean up, then goes back to the queue.
        """
        self._resume_helpers()
        for starter in self._refresh_daemons().starters:
            send_signal(starter, signal.SIGTERM)

    def _resume_helpers(self) -> None:
        """Continue what was stopped: a starter needs condor_procd to end its job."""
        for pid in self._refresh_daemons().stopped:
            send_signal(pid, signal.SIGCONT)

    def hard_stop(self) -> None:
        """Quit condor_master: jobs are killed, and Idle in their queues within 0.1 s; the master is gone in 0.3 s."""
        self._node_state.evicting = True
        self.quit_master()

    def evict(self) -> None:
        """Give the jobs back within a container engine's grace: report Evicted, then quit condor_master."""
        if not self._evicting:
            self._evicting = self._node_state.evicting = True
            self._services.start_task(self._run_eviction())

    async def _run_eviction(self) -> None:
        """End the starters first, and the startd only once they are gone.

        A starter that is told to end while it still fetches its job's files crashes. Its shadow then asks the startd,
        and without a startd that answers the job stays in limbo. Evicted is reported even when this fails, because the
        ordered stop waits for it.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + EVICT_TIMEOUT_S
        try:
            while (starters := self._refresh_daemons().starters) and loop.time() < deadline:
                self.soft_stop()
                await wait_until_ended(starters, deadline - loop.time())
                ended_at = loop.time()
                while ended_at < deadline and self._node_state.is_startd_needed(loop.time() - ended_at):
                    await asyncio.sleep(SHADOW_POLL_S)
                # the schedd may have sent the next job into the same claim: check again
            self._node_state.refresh(loop.time())
        finally:
            self._services.report(Evicted())
        self.quit_master()

    def last_resort(self) -> None:
        """Do as `evict`, without an event loop."""
        self._node_state.evicting = True
        self.soft_stop()
        starters, deadline = self._node_state.daemons.starters, time.monotonic() + EVICT_TIMEOUT_S
        for starter in starters:
            with contextlib.suppress(ProcessLookupError):
                select.select([os.pidfd_open(starter)], [], [], max(0.0, deadline - time.monotonic()))
        ended_at = time.monotonic()
        while starters and ended_at < deadline and self._node_state.is_startd_needed(time.monotonic() - ended_at):
            time.sleep(SHADOW_POLL_S)
        self.quit_master()

    def quit_master(self) -> None:
        """Send SIGQUIT to condor_master, at once; without a master, to the daemons it left behind."""
        daemons = self._refresh_daemons()
        self._resume_helpers()
        if daemons.master is None or self._node_state.conditions.is_active("startd-hung"):
            # a hung startd would keep the master from its jobs for SHUTDOWN_FAST_TIMEOUT
            self._quit_starters_and_startd(daemons)
        if daemons.master is not None:
            send_signal(daemons.master, signal.SIGQUIT)

    def _quit_starters_and_startd(self, daemons: Daemons) -> None:
        """Send SIGQUIT to the starters first: they are the ones that tell their schedd."""
        for pid in (*daemons.starters, daemons.startd):
            if pid is not None:
                send_signal(pid, signal.SIGQUIT)

    def _refresh_daemons(self) -> Daemons:
        return self._node_state.observe_daemons()
