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
from typing import ClassVar, Literal

from autopilot.adapters.htcondor import cgroup, nodeconfig, preflight
from autopilot.adapters.htcondor.daemons import Daemons, find_daemons, send
from autopilot.adapters.htcondor.emptying import Emptying
from autopilot.adapters.htcondor.kernel_events import ended
from autopilot.adapters.htcondor.membership import Membership
from autopilot.adapters.htcondor.notify import NotifySocket
from autopilot.adapters.htcondor.picture import Picture
from autopilot.adapters.htcondor.tools import Tools
from autopilot.adapters.htcondor.watching import WATCHDOG, Watching, space_problem
from autopilot.machines.cues import Cue, Evicted
from autopilot.runtime.commands import CommandRunner
from autopilot.spec.plan import Htcondor as HtcondorPlan
from autopilot.spec.plan import Lifetime

EVICT_PATIENCE = 1.2  # s from SIGTERM to the starters to SIGQUIT to the master: a job that obeys is gone in 0.1 s
SCHEDD_NOTICES = 0.3  # s; seen: 0.06 s from a starter's end to its job being Idle
DEFAULT_GRACEFUL = 1800  # s, SHUTDOWN_GRACEFUL_TIMEOUT as HTCondor ships it

Aspect = Literal["startd", "pool", "master", "space"]


class Htcondor:
    """`life` is this life's unique id; `state` where we may keep files; `env` the supervisor's own environment."""

    own_pid_in: ClassVar[tuple[str, ...]] = ("WATCHDOG_PID",)  # sd_watchdog_enabled(3): the pid that is to speak

    def __init__(
        self,
        plan: HtcondorPlan,
        lifetime: Lifetime | None,
        *,
        run: CommandRunner,
        report: Callable[[Cue], None],
        state: Path,
        life: str,
        env: Mapping[str, str],
    ) -> None:
        self._plan, self._lifetime, self._life, self._env = plan, lifetime, life, env
        self._tools = Tools(run)
        self._picture = Picture(plan, self._tools, report)
        self._membership = Membership(self._picture)
        self._emptying = Emptying(self._picture)
        self._watching = Watching(self._picture, self._membership, self._emptying.changed.set, self._refuse_jobs)
        self._notify = NotifySocket(
            f"autopilot/{os.getpid()}/{life}"[:100],
            senders=lambda: {self._picture.leader, self._picture.daemons.master},
            on_message=self._heard,
        )
        self._overrides: dict[str, str] = {}
        self._refusing = False
        self._evicting: asyncio.Task[None] | None = None

    # --- before condor_master ---

    async def prepare(self) -> list[str]:
        """Write the configuration, make the directories, copy the tokens, and look whether a master can work here. One
        line for each problem, with its remedy; [] means go. May be called again after a wait."""
        problems = preflight.installed(self._env) or await preflight.names(self._tools, None)
        problems += self._write_configuration()
        if problems:  # without a name of its own even condor_config_val may take minutes
            return problems
        settings, problem = await self._tools.settings()
        if problem:
            return [f"{problem}; look at `condor_config_val -config`"]
        self._picture.settings = settings
        self._override(settings)
        folder = preflight.token_folder(settings, self._env)
        source = self._plan.node.token if self._plan.node else None
        return [
            *await preflight.names(self._tools, settings.get("COLLECTOR_HOST")),
            *preflight.folders(settings),
            *(
                preflight.copy_tokens(source, folder)
                or preflight.token_problems(folder, settings, expected=source is not None)
            ),
        ]

    def _write_configuration(self) -> list[str]:
        plan = self._plan.node
        if plan is None:
            return []
        limits, usable = cgroup.limits(), len(os.sched_getaffinity(0))
        host = plan.condor_host or self._env.get("CONDOR_HOST")
        node = nodeconfig.Node(
            condor_host=host,
            name=nodeconfig.node_name(plan.name, self._life, self._env.get("AUTOPILOT_SLOT")),
            cpus=max(1, int(plan.cpus)) if plan.cpus is not None else cgroup.whole_cpus(limits.cpus, usable),
            memory=plan.memory // cgroup.MIB
            if plan.memory
            else cgroup.job_memory(limits.memory, cgroup.machine_memory()),
            retirement=nodeconfig.retirement(self._lifetime),
            domain=nodeconfig.domain_of(host),
            accept_jobs=not self._refusing,
        )
        path = Path(plan.path)
        try:
            text = nodeconfig.render(node, plan.settings)
            path.parent.mkdir(parents=True, exist_ok=True)
            draft = path.with_name(f".{path.name}.new")
            draft.write_text(text)
            draft.chmod(0o644)
            draft.rename(path)
        except nodeconfig.BadSetting as bad:
            return [f"htcondor.node: {bad}"]
        except OSError as error:
            return [f"htcondor.node.path: cannot write {path}: {error.strerror}; make its directory writable"]
        return []

    def _override(self, settings: Mapping[str, str]) -> None:
        """An image that configures no retirement gets it by environment, else the fallback drain would evict at
        once."""
        retirement = nodeconfig.retirement(self._lifetime)
        if self._plan.node is None and settings.get("MAXJOBRETIREMENTTIME", "0") == "0":
            self._overrides["_CONDOR_MAXJOBRETIREMENTTIME"] = str(retirement)
            if settings.get("SHUTDOWN_GRACEFUL_TIMEOUT", str(DEFAULT_GRACEFUL)) == str(DEFAULT_GRACEFUL):
                self._overrides["_CONDOR_SHUTDOWN_GRACEFUL_TIMEOUT"] = str(retirement + 3600)
        if self._plan.node is None and "STARTD_NOT_RESPONDING_TIMEOUT" not in settings:
            self._overrides["_CONDOR_STARTD_NOT_RESPONDING_TIMEOUT"] = "300"

    async def _refuse_jobs(self, refuse: bool) -> None:
        """A full EXECUTE puts each new job on hold within a second: take none until there is room again."""
        if self._plan.node is None or refuse == self._refusing:
            return
        self._refusing = refuse
        if not self._write_configuration():
            await self._tools.reconfigure_startd()

    # --- around condor_master ---

    def environment(self) -> dict[str, str]:
        """For condor_master's process, over everything else. WATCHDOG_USEC is in microseconds."""
        beats = {"NOTIFY_SOCKET": self._notify.open(), "WATCHDOG_USEC": str(int(WATCHDOG * 1e6))}
        return {**beats, **self._overrides}

    def master_started(self, pid: int) -> None:
        self._picture.leader, self._picture.started = pid, asyncio.get_running_loop().time()
        self._membership.forget()
        self._picture.changed.set()

    def master_exited(self) -> None:
        """After a crash of the master its startd and starters would linger for 10 to 15 s and leave payloads behind.
        SIGQUIT gives the jobs back to their queues; starters first, they have the word with their schedd."""
        self._picture.forget_daemons()
        self._quit(self._daemons())
        self._picture.changed.set()

    async def watch(self) -> None:
        """The long-running part: listens, looks, asks, drains. Ends only by being cancelled."""
        loop = asyncio.get_running_loop()
        self._notify.listen(loop)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._watching.looks(), name="htcondor looks")
                group.create_task(self._watching.asks(), name="htcondor asks")
                group.create_task(self._emptying.run(), name="htcondor drain")
        finally:
            self._notify.close(loop)

    def _heard(self, message: bytes) -> None:
        self._picture.heartbeat = self._picture.heartbeat.heard(message, asyncio.get_running_loop().time())

    # --- questions ---

    async def probe(self, aspect: Aspect, timeout: float) -> tuple[bool, str]:
        """One health check and one sentence about it. Never raises for what HTCondor does, never longer than
        `timeout` s."""
        try:
            async with asyncio.timeout(timeout):
                return await self._probe(aspect, timeout)
        except TimeoutError:
            return False, f"no answer about {aspect} within {timeout:g} s"

    async def _probe(self, aspect: Aspect, timeout: float) -> tuple[bool, str]:
        self._picture.look(asyncio.get_running_loop().time())
        match aspect:
            case "startd":
                return await self._watching.ask_startd(timeout * 0.9)
            case "pool":
                return await self._membership.verdict(timeout * 0.8)
            case "master":
                return await self._master(timeout * 0.9)
            case "space":
                bad = [line for name in ("EXECUTE", "LOG") if (line := space_problem(self._picture, name))]
                return not bad, "; ".join(bad) or "EXECUTE and LOG have room"

    async def _master(self, limit: float) -> tuple[bool, str]:
        now, picture = asyncio.get_running_loop().time(), self._picture
        if picture.daemons.master is None:
            return False, "condor_master does not run"
        if problem := self._watching.heartbeat_problem(now):
            return False, problem
        if (age := picture.heartbeat.age(now)) is not None:
            return True, f"condor_master spoke {age:.0f} s ago: {picture.heartbeat.status or 'ready'}"
        if await self._tools.who(limit):
            return True, "condor_master answers condor_who; it sends no heartbeat (yet)"
        return False, "condor_master neither sends its heartbeat nor answers condor_who"

    def status(self) -> dict[str, object]:
        """What a status page shows. Plain data; times in seconds."""
        picture = self._picture
        age = picture.heartbeat.age(asyncio.get_running_loop().time())
        return {
            "payloads": list(picture.payloads or ()),
            "slots": [dict(slot) for slot in picture.slots],
            "in_pool": self._membership.joined,
            "pool": self._membership.said,
            "heartbeat_age": None if age is None else round(age, 1),
            "master": picture.daemons.master,
            "master_says": picture.heartbeat.status,
            "startd": picture.daemons.startd,
            "drain": f"{self._emptying.state.step.value}, {self._emptying.state.order.value}"
            if picture.draining
            else None,
            "refusing_jobs": self._refusing,
            "troubles": dict(picture.troubles.details),
        }

    # --- the end of a life ---

    def begin_drain(self, reason: str) -> None:
        self._emptying.begin(reason)

    def soften(self) -> None:
        """Each starter gets SIGTERM: its job gets its own soft signal and time to clean up, then goes back to the
        queue."""
        for starter in self._daemons().starters:
            send(starter, signal.SIGTERM)

    def harden(self) -> None:
        """SIGQUIT to condor_master: jobs are killed, and Idle in their queues within 0.1 s; the master is gone in 0.3
        s."""
        self.emergency()

    def evict(self) -> None:
        """Give the jobs back within a container engine's grace; reports Evicted, then insists."""
        if self._evicting is None:
            self._evicting = asyncio.get_running_loop().create_task(self._evict())

    async def _evict(self) -> None:
        """The starters first, and the startd only once they are gone: a starter that is told to end while it still
        fetches its job's files crashes, and without a startd that says so the job stays in limbo."""
        loop = asyncio.get_running_loop()
        until = loop.time() + EVICT_PATIENCE
        while (starters := self._daemons().starters) and loop.time() < until:
            self.soften()
            await ended(starters, until - loop.time())
            await asyncio.sleep(SCHEDD_NOTICES)  # and perhaps sends the next job into the same claim: look again
        self._picture.report(Evicted())
        self.emergency()

    def last_resort(self) -> None:
        """As `evict`, without an event loop."""
        self.soften()
        starters, until = self._picture.daemons.starters, time.monotonic() + EVICT_PATIENCE
        for starter in starters:
            with contextlib.suppress(ProcessLookupError):
                select.select([os.pidfd_open(starter)], [], [], max(0.0, until - time.monotonic()))
        if starters:
            time.sleep(SCHEDD_NOTICES)
        self.emergency()

    def emergency(self) -> None:
        """SIGQUIT to condor_master, at once. With no master left, to what it left behind."""
        daemons = self._daemons()
        for pid in daemons.stopped:
            send(pid, signal.SIGCONT)
        if daemons.master is None or self._picture.troubles.on("startd-hung"):
            self._quit(daemons)  # a hung startd would keep the master from its jobs for SHUTDOWN_FAST_TIMEOUT
        if daemons.master is not None:
            send(daemons.master, signal.SIGQUIT)

    def _quit(self, daemons: Daemons) -> None:
        """Starters first: they have the word with their schedd."""
        for pid in (*daemons.starters, daemons.startd):
            if pid is not None:
                send(pid, signal.SIGQUIT)

    def _daemons(self) -> Daemons:
        self._picture.daemons = find_daemons(self._picture.leader, os.getpid())
        return self._picture.daemons
