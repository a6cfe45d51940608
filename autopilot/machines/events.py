"""Facts: what is now true, in the past tense.

Listeners (logs, last words, status, registries) read them; `when` clauses match on them. `event` is
ContainerPilot's name of the fact where it has one: that is what a `when` clause waits for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from autopilot.machines.plan_changes import Changes


@dataclass(frozen=True, slots=True)
class Event:
    trigger_name: ClassVar[str] = ""

    @property
    def source(self) -> str:
        """The job the fact is about, "" for the supervisor itself."""
        return str(getattr(self, "job", ""))


@dataclass(frozen=True, slots=True)
class SupervisorStarted(Event):
    trigger_name: ClassVar[str] = "startup"


@dataclass(frozen=True, slots=True)
class SignalReceived(Event):
    trigger_name: ClassVar[str] = "signal"
    name: str

    @property
    def source(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class JobStarted(Event):
    """`pid` 0: a job without a process, which is only checked and advertised."""

    trigger_name: ClassVar[str] = "started"
    job: str
    run: int
    pid: int


@dataclass(frozen=True, slots=True)
class JobExited(Event):
    """`asked`: somebody wanted it to end, so a signal's status is no failure."""

    job: str
    run: int
    status: int
    asked: bool
    problem: str | None = None
    leftovers: int = 0
    oom: bool = False


@dataclass(frozen=True, slots=True)
class JobSucceeded(Event):
    trigger_name: ClassVar[str] = "exitSuccess"
    job: str


@dataclass(frozen=True, slots=True)
class JobFailed(Event):
    trigger_name: ClassVar[str] = "exitFailed"
    job: str
    status: int


@dataclass(frozen=True, slots=True)
class JobStopping(Event):
    trigger_name: ClassVar[str] = "stopping"
    job: str


@dataclass(frozen=True, slots=True)
class JobStopped(Event):
    """The job is over: it will not run again unless a person starts it. `status` is None if it never ran."""

    trigger_name: ClassVar[str] = "stopped"
    job: str
    status: int | None


@dataclass(frozen=True, slots=True)
class JobTimedOut(Event):
    """The run was longer than the job's `timeout` (s): all of it is killed."""

    job: str
    timeout: float


@dataclass(frozen=True, slots=True)
class JobKilled(Event):
    """The job did not end within `after` seconds of being asked: SIGKILL to everything that is left of it."""

    job: str
    after: float


@dataclass(frozen=True, slots=True)
class WaitTimedOut(Event):
    """What the job waits for did not happen within `timeout` seconds: it will not run."""

    job: str
    timeout: float


@dataclass(frozen=True, slots=True)
class WaitAbandoned(Event):
    """What the job waits for can never happen any more (its source is over): it will not run."""

    job: str
    waiting_for: str


@dataclass(frozen=True, slots=True)
class RunsSkipped(Event):
    """A periodic job was still running when so many further runs were due; runs never overlap. `late`: the wall clock
    was set forward past the times of a job with `cron`."""

    job: str
    count: int
    late: bool = False


@dataclass(frozen=True, slots=True)
class RestartScheduled(Event):
    job: str
    delay: float
    failures: int


@dataclass(frozen=True, slots=True)
class CrashLoopDetected(Event):
    """So many runs in a row ended sooner than the back-off's `reset_after`."""

    job: str
    failures: int
    status: int


@dataclass(frozen=True, slots=True)
class CheckPassed(Event):
    job: str
    output: str


@dataclass(frozen=True, slots=True)
class CheckFailed(Event):
    """`starting`: the job has never been healthy in this run and is still within its grace."""

    job: str
    output: str
    failures: int
    starting: bool


@dataclass(frozen=True, slots=True)
class ChecksSkipped(Event):
    """The check was still running when so many further checks were due; checks of one job never overlap."""

    job: str
    count: int


@dataclass(frozen=True, slots=True)
class Healthy(Event):
    trigger_name: ClassVar[str] = "healthy"
    job: str


@dataclass(frozen=True, slots=True)
class Unhealthy(Event):
    trigger_name: ClassVar[str] = "unhealthy"
    job: str
    output: str
    failures: int


@dataclass(frozen=True, slots=True)
class BootSucceeded(Event):
    """Boot success: all that has a check has been healthy for `seconds` without a break."""

    seconds: float


@dataclass(frozen=True, slots=True)
class PayloadsChanged(Event):
    payloads: tuple[str, ...]
    started: tuple[str, ...]
    ended: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ConditionRaised(Event):
    kind: str
    detail: str


@dataclass(frozen=True, slots=True)
class ConditionCleared(Event):
    kind: str


@dataclass(frozen=True, slots=True)
class _WatchEvent(Event):
    watch: str

    @property
    def source(self) -> str:
        return f"watch.{self.watch}"


@dataclass(frozen=True, slots=True)
class WatchChanged(_WatchEvent):
    """The healthy instances of a watched service, or the value of a watched key, are others than before; one of the two
    below follows."""

    trigger_name: ClassVar[str] = "changed"


@dataclass(frozen=True, slots=True)
class WatchHealthy(_WatchEvent):
    trigger_name: ClassVar[str] = "healthy"


@dataclass(frozen=True, slots=True)
class WatchUnhealthy(_WatchEvent):
    trigger_name: ClassVar[str] = "unhealthy"


@dataclass(frozen=True, slots=True)
class TemplateWritten(Event):
    path: str


@dataclass(frozen=True, slots=True)
class MaintenanceEntered(Event):
    """Our services take no more traffic; checks rest."""

    trigger_name: ClassVar[str] = "enterMaintenance"


@dataclass(frozen=True, slots=True)
class MaintenanceExited(Event):
    trigger_name: ClassVar[str] = "exitMaintenance"


@dataclass(frozen=True, slots=True)
class LifetimeBegun(Event):
    """The lifetime is counted from now; `seconds` is its one draw, None when only idleness ends it."""

    seconds: float | None


@dataclass(frozen=True, slots=True)
class LifetimeChanged(Event):
    """A new plan has another length: `seconds` are left, None: only idleness ends it."""

    seconds: float | None


@dataclass(frozen=True, slots=True)
class LifetimeQueued(Event):
    """The lifetime is over; its end waits until fewer containers of the site end."""


@dataclass(frozen=True, slots=True)
class DrainBegun(Event):
    """`reason`: lifetime, idle, drain, signal, check-failed. `deadline` (s): then payloads get SIGTERM; None: never."""

    reason: str
    who: str
    deadline: float | None


@dataclass(frozen=True, slots=True)
class DrainDeadlineChanged(Event):
    who: str
    deadline: float


@dataclass(frozen=True, slots=True)
class DrainDeadlineReached(Event):
    """The deadline has come: payloads got SIGTERM and have `grace` seconds for their clean-up."""

    grace: float


@dataclass(frozen=True, slots=True)
class DrainGraceExpired(Event):
    """The grace is over too: the batch system is told to kill what runs."""


@dataclass(frozen=True, slots=True)
class DrainCompleted(Event):
    forced: bool


@dataclass(frozen=True, slots=True)
class PayloadsEvicted(Event):
    """The batch system has given its payloads back to their queues."""


@dataclass(frozen=True, slots=True)
class PlanAdopted(Event):
    """This life follows another plan from now on; jobs that have to go are on their way."""

    changes: Changes


@dataclass(frozen=True, slots=True)
class PlanApplied(Event):
    """All jobs that the new plan ended or replaced are over, and their successors armed."""


@dataclass(frozen=True, slots=True)
class ShutdownBegun(Event):
    trigger_name: ClassVar[str] = "shutdown"
    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class ShutdownForced(Event):
    """What is left is killed: somebody asked twice, or the stop's budget is spent (`who`)."""

    who: str
    jobs: tuple[str, ...]
