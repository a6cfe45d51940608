"""Facts: what is now true, in the past tense.

Listeners (logs, last words, status, registries) read them; `when` clauses match on them. `event` is
ContainerPilot's name of the fact where it has one: that is what a `when` clause waits for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from autopilot.machines.changes import Changes


@dataclass(frozen=True, slots=True)
class Fact:
    event: ClassVar[str] = ""

    @property
    def source(self) -> str:
        """The job the fact is about, "" for the supervisor itself."""
        return str(getattr(self, "job", ""))


@dataclass(frozen=True, slots=True)
class SupervisorStarted(Fact):
    event: ClassVar[str] = "startup"


@dataclass(frozen=True, slots=True)
class SignalReceived(Fact):
    event: ClassVar[str] = "signal"
    name: str

    @property
    def source(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class JobStarted(Fact):
    """`pid` 0: a job without a process, which is only checked and advertised."""

    event: ClassVar[str] = "started"
    job: str
    run: int
    pid: int


@dataclass(frozen=True, slots=True)
class JobExited(Fact):
    """`asked`: somebody wanted it to end, so a signal's status is no failure."""

    job: str
    run: int
    status: int
    asked: bool
    problem: str | None = None
    leftovers: int = 0
    oom: bool = False


@dataclass(frozen=True, slots=True)
class JobSucceeded(Fact):
    event: ClassVar[str] = "exitSuccess"
    job: str


@dataclass(frozen=True, slots=True)
class JobFailed(Fact):
    event: ClassVar[str] = "exitFailed"
    job: str
    status: int


@dataclass(frozen=True, slots=True)
class JobStopping(Fact):
    event: ClassVar[str] = "stopping"
    job: str


@dataclass(frozen=True, slots=True)
class JobStopped(Fact):
    """The job is over: it will not run again unless a person starts it. `status` is None if it never ran."""

    event: ClassVar[str] = "stopped"
    job: str
    status: int | None


@dataclass(frozen=True, slots=True)
class JobTimedOut(Fact):
    """The run was longer than the job's `timeout` (s): all of it is killed."""

    job: str
    timeout: float


@dataclass(frozen=True, slots=True)
class JobKilled(Fact):
    """The job did not end within `after` seconds of being asked: SIGKILL to everything that is left of it."""

    job: str
    after: float


@dataclass(frozen=True, slots=True)
class WaitTimedOut(Fact):
    """What the job waits for did not happen within `timeout` seconds: it will not run."""

    job: str
    timeout: float


@dataclass(frozen=True, slots=True)
class WaitAbandoned(Fact):
    """What the job waits for can never happen any more (its source is over): it will not run."""

    job: str
    waiting_for: str


@dataclass(frozen=True, slots=True)
class RunsSkipped(Fact):
    """A periodic job was still running when so many further runs were due; runs never overlap. `late`: the wall clock
    was set forward past the times of a job with `cron`."""

    job: str
    count: int
    late: bool = False


@dataclass(frozen=True, slots=True)
class RestartScheduled(Fact):
    job: str
    delay: float
    failures: int


@dataclass(frozen=True, slots=True)
class CrashLoopSeen(Fact):
    """So many runs in a row ended sooner than the back-off's `reset_after`."""

    job: str
    failures: int
    status: int


@dataclass(frozen=True, slots=True)
class CheckPassed(Fact):
    job: str
    output: str


@dataclass(frozen=True, slots=True)
class CheckFailed(Fact):
    """`starting`: the job has never been healthy in this run and is still within its grace."""

    job: str
    output: str
    failures: int
    starting: bool


@dataclass(frozen=True, slots=True)
class ChecksSkipped(Fact):
    """The check was still running when so many further checks were due; checks of one job never overlap."""

    job: str
    count: int


@dataclass(frozen=True, slots=True)
class Healthy(Fact):
    event: ClassVar[str] = "healthy"
    job: str


@dataclass(frozen=True, slots=True)
class Unhealthy(Fact):
    event: ClassVar[str] = "unhealthy"
    job: str
    output: str
    failures: int


@dataclass(frozen=True, slots=True)
class ProvedGood(Fact):
    """Boot success: all that has a check has been healthy for `seconds` without a break."""

    seconds: float


@dataclass(frozen=True, slots=True)
class PayloadsChanged(Fact):
    payloads: tuple[str, ...]
    started: tuple[str, ...]
    ended: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class NodeTroubled(Fact):
    kind: str
    detail: str


@dataclass(frozen=True, slots=True)
class NodeMended(Fact):
    kind: str


@dataclass(frozen=True, slots=True)
class _OfWatch(Fact):
    watch: str

    @property
    def source(self) -> str:
        return f"watch.{self.watch}"


@dataclass(frozen=True, slots=True)
class WatchChanged(_OfWatch):
    """The healthy instances of a watched service, or the value of a watched key, are others than before; one of the two
    below follows."""

    event: ClassVar[str] = "changed"


@dataclass(frozen=True, slots=True)
class WatchHealthy(_OfWatch):
    event: ClassVar[str] = "healthy"


@dataclass(frozen=True, slots=True)
class WatchUnhealthy(_OfWatch):
    event: ClassVar[str] = "unhealthy"


@dataclass(frozen=True, slots=True)
class TemplateWritten(Fact):
    path: str


@dataclass(frozen=True, slots=True)
class MaintenanceEntered(Fact):
    """Our services take no more traffic; checks rest."""

    event: ClassVar[str] = "enterMaintenance"


@dataclass(frozen=True, slots=True)
class MaintenanceLeft(Fact):
    event: ClassVar[str] = "exitMaintenance"


@dataclass(frozen=True, slots=True)
class LifetimeBegun(Fact):
    """The lifetime is counted from now; `seconds` is its one draw, None when only idleness ends it."""

    seconds: float | None


@dataclass(frozen=True, slots=True)
class LifetimeMoved(Fact):
    """A new plan has another length: `seconds` are left, None: only idleness ends it."""

    seconds: float | None


@dataclass(frozen=True, slots=True)
class LifetimeQueued(Fact):
    """The lifetime is over; its end waits until fewer containers of the site end."""


@dataclass(frozen=True, slots=True)
class DrainBegun(Fact):
    """`reason`: lifetime, idle, drain, signal, check-failed. `deadline` (s): then payloads get SIGTERM; None: never."""

    reason: str
    who: str
    deadline: float | None


@dataclass(frozen=True, slots=True)
class DeadlineMoved(Fact):
    who: str
    deadline: float


@dataclass(frozen=True, slots=True)
class DrainSoftened(Fact):
    """The deadline has come: payloads got SIGTERM and have `grace` seconds for their clean-up."""

    grace: float


@dataclass(frozen=True, slots=True)
class DrainHardened(Fact):
    """The grace is over too: the batch system is told to kill what runs."""


@dataclass(frozen=True, slots=True)
class DrainCompleted(Fact):
    forced: bool


@dataclass(frozen=True, slots=True)
class PayloadsEvicted(Fact):
    """The batch system has given its payloads back to their queues."""


@dataclass(frozen=True, slots=True)
class PlanAdopted(Fact):
    """This life follows another plan from now on; jobs that have to go are on their way."""

    changes: Changes


@dataclass(frozen=True, slots=True)
class PlanSettled(Fact):
    """All jobs that the new plan ended or replaced are over, and their successors armed."""


@dataclass(frozen=True, slots=True)
class ShutdownBegun(Fact):
    event: ClassVar[str] = "shutdown"
    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class ShutdownHurried(Fact):
    """What is left is killed: somebody asked twice, or the stop's budget is spent (`who`)."""

    who: str
    jobs: tuple[str, ...]
