"""Implement the port of batch systems for an access point: a condor_master with a schedd.

The jobs of an access point run on other nodes, so nothing here ends one. A schedd that ends in order leaves the jobs
that run where they are, and keeps them in its spool. The next schedd on that spool, of the same name, connects to them
again within their lease. So an ordered stop, the deadline of a drain and the drain `handover` are the same: the
supervisor stops condor_master. The drain `queue` first refuses new jobs and waits until the queue is empty.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from autopilot.adapters.batch.batch_system import OutsideProblem, SupervisorServices
from autopilot.adapters.batch.conditions import Conditions
from autopilot.adapters.batch.htcondor import node_config, preflight
from autopilot.adapters.batch.htcondor.access_point import queue_drain, spool_claim
from autopilot.adapters.batch.htcondor.access_point.access_point_config import (
    AccessPointConfig,
    build_requirement,
    render_config,
)
from autopilot.adapters.batch.htcondor.access_point.access_point_settings import AccessPointSettings
from autopilot.adapters.batch.htcondor.access_point.queue_counts import QueueCounts
from autopilot.adapters.batch.htcondor.access_point.schedd_commands import ScheddCommands
from autopilot.adapters.batch.htcondor.access_point.schedd_membership import ScheddMembership
from autopilot.adapters.batch.htcondor.condor_commands import CondorCommands
from autopilot.adapters.batch.htcondor.daemons import find_daemons
from autopilot.adapters.batch.htcondor.free_space import read_free_bytes
from autopilot.adapters.batch.htcondor.master_heartbeat import Heartbeat, NotifySocket
from autopilot.adapters.batch.htcondor.node_monitor import HEARTBEAT_TIMEOUT_S
from autopilot.adapters.batch.htcondor.token_watch import TokenWatch
from autopilot.adapters.batch.process_signals import send_signal
from autopilot.machines.cues import Drained, Evicted
from autopilot.process import job_processes, process_stat

if TYPE_CHECKING:
    from autopilot.api.messages import AccessPointAdapterStatus

JOIN_RIGHT = "ADVERTISE_SCHEDD"
SPOOL_WAIT_S = 10.0  # for the life before, which may still be ending
SPOOL_POLL_S = 0.5
DRAIN_POLL_S = 5.0  # at most: the container should not stand around empty
SILENCE_PATIENCE_S = 60.0  # of the schedd; it starts within seconds, and reads a long queue within a minute


class AccessPointSystem:
    """The access point in this container; implements `autopilot.adapters.batch.batch_system.BatchSystem`."""

    own_pid_variables: tuple[str, ...] = ("WATCHDOG_PID",)  # sd_watchdog_enabled(3): the pid that sends heartbeats

    def __init__(self, settings: AccessPointSettings, services: SupervisorServices) -> None:
        """Wire the parts; nothing is opened or asked yet.

        Args:
            settings: The section of the plan.
            services: Parts of the supervisor.
        """
        self._settings, self._services = settings, services
        self._condor_commands = CondorCommands(services.command_runner, services.job_env)
        self._commands = ScheddCommands(self._condor_commands)
        self._conditions = Conditions(services.report)
        self._token_watch = TokenWatch(self._conditions, services.get_longest_rest, right=JOIN_RIGHT)
        self._membership = ScheddMembership(self._commands, self._conditions)
        self._claim = spool_claim.SpoolClaim()
        self._condor_settings: Mapping[str, str] = {}
        self._is_spool_kept = False
        self._leader_pid: int | None = None
        self._counts: QueueCounts | None = None
        self._requirement: str | None = None  # of new jobs; None: no drain
        self._drain_requested = asyncio.Event()
        self._drain_state = queue_drain.QueueDrainState()
        self._heartbeat = Heartbeat()
        self._notify_socket = NotifySocket(
            f"autopilot/{os.getpid()}/{services.life_id}"[:100],
            get_allowed_pids=lambda: {self._leader_pid, self._find_master()},
            on_message=self._record_heartbeat,
        )

    # --- before condor_master ---

    async def prepare(self) -> list[str]:
        """Write the configuration, copy the tokens, claim the spool; check that a schedd can work here.

        Returns:
            One line for each problem, with its remedy; empty when condor_master can be started.
        """
        env = self._services.env
        problems = preflight.check_installation(env) or await preflight.check_names(self._condor_commands, None)
        problems += self._write_configuration()
        if problems:  # without a name of its own even condor_config_val may take minutes
            return problems
        settings, problem = await self._condor_commands.read_settings()
        if problem:
            return [f"{problem}; look at `condor_config_val -config`"]
        self._condor_settings = settings
        self._membership.name = self._get_schedd_name()
        directory, source = preflight.get_token_directory(settings, env), self._settings.token
        if source is not None or preflight.is_token_required(settings):
            self._membership.token_directory = directory
            self._token_watch.begin(directory, source)
        problems = [
            *await preflight.check_names(self._condor_commands, settings.get("COLLECTOR_HOST")),
            *preflight.prepare_directories(settings),
            *(
                preflight.copy_tokens(source, directory)
                or preflight.check_tokens(directory, settings, expected=source is not None, right=JOIN_RIGHT)
            ),
        ]
        if not problems:
            self._token_watch.update(asyncio.get_running_loop().time())
            problems = await self._prepare_spool()
        return problems

    def _get_schedd_name(self) -> str:
        """Return the name under which the pool knows this schedd."""
        host = self._condor_settings.get("FULL_HOSTNAME") or preflight.get_host_name()
        name = self._condor_settings.get("SCHEDD_NAME", "")
        return name if "@" in name else f"{name}@{host}" if name else host

    def _write_configuration(self) -> list[str]:
        host = self._settings.condor_host or self._services.env.get("CONDOR_HOST")
        config = AccessPointConfig(
            condor_host=host,
            name=self._settings.name,
            spool=self._settings.spool,
            domain=node_config.get_domain(host),
            requirement=self._requirement,
        )
        path = Path(self._settings.path)
        try:
            text = render_config(config, self._settings.settings)
            path.parent.mkdir(parents=True, exist_ok=True)
            draft = path.with_name(f".{path.name}.new")
            draft.write_text(text)
            draft.chmod(0o644)
            draft.rename(path)
        except node_config.InvalidSettingError as bad:
            return [f"access_point: {bad}"]
        except OSError as error:
            return [f"access_point.path: cannot write {path}: {error.strerror}; make its directory writable"]
        return []

    async def _prepare_spool(self) -> list[str]:
        """Check the spool and claim it; returns the first problem."""
        spool = Path(self._condor_settings.get("SPOOL", "/var/spool/condor"))
        name = self._membership.name
        try:
            problem = self._examine_spool(spool) or await self._claim_spool(spool, name)
        except OSError as error:
            problem = preflight.add_disk_remedy(f"SPOOL = {spool}: cannot lock {error.filename or spool}", error)
        problem = problem or await self._find_live_schedd(spool, name)
        if problem:
            self._claim.release()
        return [problem] if problem else []

    def _examine_spool(self, spool: Path) -> str:
        """Return a sentence when the spool belongs to another user, or cannot be handed over, else ""."""
        mountinfo = Path("/proc/self/mountinfo").read_text(errors="replace")
        volatile = spool_claim.find_volume_problem(spool, mountinfo, is_container=os.getpid() == 1)
        self._is_spool_kept = not volatile
        if volatile and self._settings.ending == "handover":
            return f"{volatile}; without it there is nothing to hand over (lifetime.drain)"
        warning = f"{volatile}; without it every end but a drain loses the queue" if volatile else None
        self._conditions.update("spool-not-kept", warning, asyncio.get_running_loop().time())
        return spool_claim.find_owner_problem(spool, preflight.get_condor_ids(self._condor_settings)[0])

    async def _claim_spool(self, spool: Path, name: str) -> str:
        """Return a sentence when the spool cannot be claimed; wait a while for the life before, which may be ending."""
        record = spool_claim.build_record(name, self._services.life_id)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + SPOOL_WAIT_S
        while True:
            taken, other = self._claim.try_take(spool, record)
            if taken:
                return spool_claim.find_name_problem(spool, name, other)
            if loop.time() >= deadline:
                return OutsideProblem(spool_claim.describe_holder(spool, other))
            await asyncio.sleep(SPOOL_POLL_S)  # the kernel tells nobody that a lock is free

    async def _find_live_schedd(self, spool: Path, name: str) -> str:
        """Return a sentence when a schedd without our claim has this spool or this name, else ""."""
        if (address := spool_claim.read_schedd_address(spool)) and await self._commands.is_alive(address):
            owner = f"the access point that last used SPOOL = {spool}"
        elif (address := await self._commands.find_namesake(name)) and await self._commands.is_alive(address):
            owner = f"another access point of the name {name}"
        else:
            return ""
        return OutsideProblem(
            f"{owner} answers at {address}: end that one, or give this one a name and a spool of its own"
        )

    # --- around condor_master ---

    def build_environment(self) -> dict[str, str]:
        """Return variables for condor_master, over all others: its heartbeat's socket and interval (microseconds)."""
        return {"NOTIFY_SOCKET": self._notify_socket.open(), "WATCHDOG_USEC": str(int(HEARTBEAT_TIMEOUT_S * 1e6))}

    def build_arguments(self) -> tuple[str, ...]:
        """Return no arguments: condor_master is configured by its file and its environment."""
        return ()

    def on_starting(self) -> None:
        """Do nothing: `prepare` has cleared the way."""

    def on_started(self, pid: int) -> None:
        """Take note of condor_master, or of the wrapper that starts it."""
        self._leader_pid = pid

    def on_exited(self) -> None:
        """Forget condor_master and its answers."""
        self._leader_pid, self._heartbeat, self._counts = None, Heartbeat(), None

    async def monitor(self) -> None:
        """Receive heartbeats, observe, and drain. Ends only by being cancelled."""
        loop = asyncio.get_running_loop()
        self._notify_socket.listen(loop)
        try:
            async with asyncio.TaskGroup() as group:
                observation = self._services.run_observer("access point", self._run_observation)
                group.create_task(observation, name="access point observation")
                group.create_task(self._run_drain(), name="access point drain")
        finally:
            self._notify_socket.close(loop)

    async def _run_observation(self) -> None:
        while True:
            if self._leader_pid is not None:
                await self._observe_queue()
                await self._membership.query_if_due()
            now = asyncio.get_running_loop().time()
            self._token_watch.update(now)
            for name in ("SPOOL", "LOG"):
                self._conditions.update(f"{name.lower()}-full", self._find_space_problem(name), now)
            pause = self._settings.poll
            if self._leader_pid is not None and not self._membership.joined:
                pause = min(pause, self._membership.compute_pause(now))
            await asyncio.sleep(pause)

    async def _observe_queue(self) -> None:
        self._counts, problem = await self._commands.count_jobs()
        detail = f"condor_schedd does not answer: {problem}; look at SchedLog" if problem else None
        now = asyncio.get_running_loop().time()
        self._conditions.update("schedd-silent", detail, now, patience=SILENCE_PATIENCE_S)

    def _find_space_problem(self, name: str) -> str | None:
        path = self._condor_settings.get(name)
        limit = self._settings.min_spool if name == "SPOOL" else self._settings.min_log
        if path is None:
            return None
        try:
            free = read_free_bytes(path)
        except OSError:
            return f"{name} = {path} cannot be read: is it still mounted?"
        if free >= limit:
            return None
        key = f"access_point.min_{name.lower()}"
        return f"{name} = {path} has {free >> 20} MiB free, less than {limit >> 20} MiB: make room, or lower {key}"

    def _record_heartbeat(self, message: bytes) -> None:
        self._heartbeat = self._heartbeat.apply_message(message, asyncio.get_running_loop().time())

    # --- questions ---

    async def check(self, aspect: str, timeout_s: float) -> tuple[bool, str]:
        """Check one aspect: `schedd`, `pool`, `master` or `space`; never lasts longer than `timeout_s`."""
        try:
            async with asyncio.timeout(timeout_s):
                return await self._check_aspect(aspect, timeout_s)
        except TimeoutError:
            return False, f"no answer about {aspect} within {timeout_s:g} s"

    async def _check_aspect(self, aspect: str, timeout: float) -> tuple[bool, str]:
        match aspect:
            case "schedd":
                counts, problem = await self._commands.count_jobs(timeout * 0.45)
                self._counts = counts
                return counts is not None, problem if counts is None else f"condor_schedd has {counts.describe()}"
            case "pool":
                return await self._membership.check(timeout * 0.45)
            case "master":
                return await self._check_master(timeout * 0.9)
            case "space":
                problems = [line for name in ("SPOOL", "LOG") if (line := self._find_space_problem(name))]
                return not problems, "; ".join(problems) or "SPOOL and LOG have room"
        raise ValueError(f"no such aspect: {aspect}")

    async def _check_master(self, timeout: float) -> tuple[bool, str]:
        if self._find_master() is None:
            return False, "condor_master does not run"
        age = self._heartbeat.compute_age(asyncio.get_running_loop().time())
        if age is not None and age < HEARTBEAT_TIMEOUT_S:
            return True, f"condor_master sent a heartbeat {age:.0f} s ago: {self._heartbeat.status or 'ready'}"
        if await self._condor_commands.query_master(timeout):
            return True, "condor_master answers condor_who"
        return False, "condor_master neither sends its heartbeat nor answers condor_who"

    def get_status(self) -> AccessPointAdapterStatus:
        """Return the section of `autopilot status`: plain data, times in seconds."""
        age = self._heartbeat.compute_age(asyncio.get_running_loop().time())
        counts = self._counts
        return {
            "name": self._membership.name,
            "ending": self._settings.ending,
            "queue": None if counts is None else {**counts.by_state, "unmaterialized": counts.unmade},
            "in_pool": self._membership.joined,
            "pool": self._membership.explanation,
            "heartbeat_age": None if age is None else round(age, 1),
            "master": self._find_master(),
            "master_says": self._heartbeat.status,
            "schedd": self._find_schedd(),
            "spool": self._condor_settings.get("SPOOL", ""),
            "spool_kept": self._is_spool_kept,
            "drain": self._describe_drain(),
            "refusing_jobs": self._requirement is not None,
            "troubles": dict(self._conditions.details),
        }

    def _describe_drain(self) -> str | None:
        if self._requirement is None:
            return None
        return f"{self._drain_state.step.value}: {self._counts.describe() if self._counts else 'no answer yet'}"

    def _find_master(self) -> int | None:
        return None if self._leader_pid is None else find_daemons(self._leader_pid, os.getpid()).master

    def _find_schedd(self) -> int | None:
        if (master := self._find_master()) is None:
            return None
        stats = ((pid, process_stat.read_process_stat(pid)) for pid in job_processes.list_children(master))
        return next((pid for pid, stat in stats if stat is not None and stat[0] == "condor_schedd"), None)

    def get_payload_pids(self) -> Mapping[str, int]:
        """Return none: the jobs of the queue run on other nodes."""
        return {}

    def read_payload_id(self, pid: int) -> str | None:
        """Return None: the jobs of the queue run on other nodes."""
        return None

    # --- the end of a life ---

    def begin_drain(self, reason: str) -> None:
        """Empty the queue, then report Drained; for a handover report it at once: the stop leaves the jobs running."""
        if self._settings.ending == "handover":
            self._services.report(Drained())
        else:
            self._drain_requested.set()

    async def _run_drain(self) -> None:
        """Wait for `begin_drain`, empty the queue and report Drained."""
        await self._drain_requested.wait()
        refuses_since = int(time.time())
        poll = min(self._settings.poll, DRAIN_POLL_S)
        while self._drain_state.step is not queue_drain.QueueDrainStep.EMPTY:
            if self._drain_state.step.is_configuring:
                is_closing = self._drain_state.step is queue_drain.QueueDrainStep.CLOSING
                await self._refuse_jobs(build_requirement(refuses_since, refuses_all=is_closing))
            if not self._drain_state.step.is_configuring:
                await self._observe_queue()
                self._drain_state = queue_drain.apply_counts(self._drain_state, self._counts)
            if self._drain_state.step is not queue_drain.QueueDrainStep.EMPTY:
                await asyncio.sleep(queue_drain.compute_pause(self._drain_state, poll, random.random()))
        self._services.report(Drained())

    async def _refuse_jobs(self, requirement: str) -> None:
        """Tell the schedd to refuse new jobs that do not meet the requirement, and see that it does."""
        self._requirement = requirement
        problems = self._write_configuration()
        if not problems:
            await self._commands.reconfigure()
        is_refusing, problem = await self._commands.has_requirement(requirement)
        self._drain_state = queue_drain.apply_refusal(self._drain_state, is_refusing=is_refusing)
        detail = None
        if not is_refusing:
            cause = "; ".join(problems) or problem or f"a file read after {self._settings.path} sets the requirements"
            detail = f"the access point still takes new jobs: {cause}; trying again"
        # the first attempt may meet a schedd that is just starting
        now = asyncio.get_running_loop().time()
        self._conditions.update("drain", detail if self._drain_state.tries > 1 else None, now)

    def soft_stop(self) -> None:
        """Report Drained: at the deadline the rest of the queue stays in the spool, for the next life."""
        self._services.report(Drained())

    def hard_stop(self) -> None:
        """Quit condor_master at once; the jobs go on and stay in the spool."""
        self.last_resort()

    def evict(self) -> None:
        """Report Evicted: the stop of condor_master leaves the jobs running."""
        self._services.report(Evicted())

    def last_resort(self) -> None:
        """Send SIGQUIT to condor_master: it and the schedd have ended after 0.2 s, and the jobs go on."""
        if (master := self._find_master()) is not None:
            send_signal(master, signal.SIGQUIT)
