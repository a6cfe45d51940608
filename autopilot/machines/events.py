"""Define the events: frozen classes in the past tense, for listeners and for the `when` clauses of jobs.

Listeners (logs, last words, status, registries) read them. `trigger_name` is ContainerPilot's name of an event, where
it has one: a `when` clause waits for that name. Field names are public: `autopilot events -o json` shows them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from autopilot.machines.plan_changes import Changes


@dataclass(frozen=True, slots=True)
class Event:
    """Base of all events."""

    trigger_name: ClassVar[str] = ""

    @property
    def source(self) -> str:
        """Job that the event is about, "" for the supervisor itself."""
        return str(getattr(self, "job", ""))


@dataclass(frozen=True, slots=True)
class SupervisorStarted(Event):
    """The life began."""

    trigger_name: ClassVar[str] = "startup"


@dataclass(frozen=True, slots=True)
class SignalReceived(Event):
    """The supervisor got a signal that jobs may wait for."""

    trigger_name: ClassVar[str] = "signal"
    name: str

    @property
    def source(self) -> str:
        """Name of the signal."""
        return self.name


@dataclass(frozen=True, slots=True)
class JobStarted(Event):
    """The job runs. `pid` is 0 for a job without a process, which is only checked and advertised."""

    trigger_name: ClassVar[str] = "started"
    job: str
    run: int
    pid: int


@dataclass(frozen=True, slots=True)
class JobExited(Event):
    """The job's leader ended. `asked`: its end was requested, so a signal's status is no failure."""

    job: str
    run: int
    status: int
    asked: bool
    problem: str | None = None
    leftovers: int = 0
    oom: bool = False


@dataclass(frozen=True, slots=True)
class JobSucceeded(Event):
    """The job's leader ended with status 0."""

    trigger_name: ClassVar[str] = "exitSuccess"
    job: str


@dataclass(frozen=True, slots=True)
class JobFailed(Event):
    """The job's leader ended with another status than 0."""

    trigger_name: ClassVar[str] = "exitFailed"
    job: str
    status: int


@dataclass(frozen=True, slots=True)
class JobStopping(Event):
    """The job is about to stop; its pre-stop jobs run now."""

    trigger_name: ClassVar[str] = "stopping"
    job: str


@dataclass(frozen=True, slots=True)
class JobStopped(Event):
    """The job is over: only an operator can start it again. `status` is None if it never ran."""

    trigger_name: ClassVar[str] = "stopped"
    job: str
    status: int | None


@dataclass(frozen=True, slots=True)
class JobTimedOut(Event):
    """The run lasted longer than the job's `timeout` (s): every process of it is killed."""

    job: str
    timeout: float


@dataclass(frozen=True, slots=True)
class JobKilled(Event):
    """The job did not end within `after` seconds of its stop signal: SIGKILL to its remaining processes."""

    job: str
    after: float


@dataclass(frozen=True, slots=True)
class WaitTimedOut(Event):
    """The job's `when` did not come true within `timeout` seconds: it will not run."""

    job: str
    timeout: float


@dataclass(frozen=True, slots=True)
class WaitAbandoned(Event):
    """The job's `when` can never come true any more (its source is over): it will not run."""

    job: str
    waiting_for: str


@dataclass(frozen=True, slots=True)
class RunsSkipped(Event):
    """A periodic job was still running when `count` further runs were due; runs never overlap.

    `late`: the wall clock was set forward past the times of a job with `cron`.
    """

    job: str
    count: int
    late: bool = False


@dataclass(frozen=True, slots=True)
class RestartScheduled(Event):
    """The job runs again after `delay` seconds; `failures` is the length of its streak of short runs."""

    job: str
    delay: float
    failures: int


@dataclass(frozen=True, slots=True)
class CrashLoopDetected(Event):
    """`failures` runs in a row ended sooner than the back-off's `reset_after`, or by a check that never passed.

    `cause` says why the last run was ended, "" if it ended by itself with `status`.
    """

    job: str
    failures: int
    status: int
    cause: str = ""


@dataclass(frozen=True, slots=True)
class CheckPassed(Event):
    """A health check passed."""

    job: str
    output: str


@dataclass(frozen=True, slots=True)
class CheckFailed(Event):
    """A health check failed. `starting`: the job was never healthy in this run and is still within its grace."""

    job: str
    output: str
    failures: int
    starting: bool


@dataclass(frozen=True, slots=True)
class ChecksSkipped(Event):
    """The check was still running when `count` further checks were due; checks of one job never overlap."""

    job: str
    count: int


@dataclass(frozen=True, slots=True)
class Healthy(Event):
    """The job became healthy."""

    trigger_name: ClassVar[str] = "healthy"
    job: str


@dataclass(frozen=True, slots=True)
class Unhealthy(Event):
    """The job became unhealthy, after `failures` failed checks in a row."""

    trigger_name: ClassVar[str] = "unhealthy"
    job: str
    output: str
    failures: int


@dataclass(frozen=True, slots=True)
class GateRefused(Event):
    """The gate's check failed for the first time, or with another answer (beside its numbers): its jobs wait."""

    gate: str
    output: str
    remedy: str


@dataclass(frozen=True, slots=True)
class GateOpened(Event):
    """The gate's check passed after `seconds`: the jobs that waited for it start."""

    gate: str
    output: str
    seconds: float


@dataclass(frozen=True, slots=True)
class GateFailed(Event):
    """The gate's check did not pass within `seconds`; `on_failure` is the consequence that the job spec names."""

    gate: str
    output: str
    seconds: float
    on_failure: str
    remedy: str


@dataclass(frozen=True, slots=True)
class BootSucceeded(Event):
    """Every job that has a check was healthy for `seconds` without a break."""

    seconds: float


@dataclass(frozen=True, slots=True)
class PayloadsChanged(Event):
    """The batch system's payloads are others than before."""

    payloads: tuple[str, ...]
    started: tuple[str, ...]
    ended: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PayloadsLost(Event):
    """The batch system crashed under these payloads: they were killed, and their queue may learn of it only later."""

    payloads: tuple[str, ...]
    cause: str


@dataclass(frozen=True, slots=True)
class PayloadsTaken(Event):
    """The node has taken `taken` of the `limit` payloads of this life."""

    taken: int
    limit: int


@dataclass(frozen=True, slots=True)
class PayloadsFinished(Event):
    """These payloads ended by themselves; those in `failed_fast` with an error, within a minute of their start."""

    payloads: tuple[str, ...]
    failed_fast: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ConditionRaised(Event):
    """A condition of the node began; `kind` is its short name, `detail` one sentence with the remedy."""

    kind: str
    detail: str


@dataclass(frozen=True, slots=True)
class ConditionCleared(Event):
    """The condition of that kind is over."""

    kind: str


@dataclass(frozen=True, slots=True)
class _WatchEvent(Event):
    watch: str

    @property
    def source(self) -> str:
        """Name of the watch as `when` clauses have it."""
        return f"watch.{self.watch}"


@dataclass(frozen=True, slots=True)
class WatchChanged(_WatchEvent):
    """The healthy instances of a watched service, or the value of a watched key, are others than before.

    WatchHealthy or WatchUnhealthy follows.
    """

    trigger_name: ClassVar[str] = "changed"


@dataclass(frozen=True, slots=True)
class WatchHealthy(_WatchEvent):
    """The watched service has a healthy instance, or the watched key is there."""

    trigger_name: ClassVar[str] = "healthy"


@dataclass(frozen=True, slots=True)
class WatchUnhealthy(_WatchEvent):
    """The watched service has no healthy instance, or the watched key is missing."""

    trigger_name: ClassVar[str] = "unhealthy"


@dataclass(frozen=True, slots=True)
class TemplateWritten(Event):
    """A rendered file has changed."""

    path: str


@dataclass(frozen=True, slots=True)
class TemplateRendered(Event):
    """A template was rendered for the first time in this life: the jobs that read its file may start."""

    trigger_name: ClassVar[str] = "rendered"
    template: str

    @property
    def source(self) -> str:
        """Name of the template as `when` clauses have it."""
        return f"template.{self.template}"


@dataclass(frozen=True, slots=True)
class MaintenanceEntered(Event):
    """Our services take no more traffic; no check runs."""

    trigger_name: ClassVar[str] = "enterMaintenance"


@dataclass(frozen=True, slots=True)
class MaintenanceExited(Event):
    """Our services take traffic again; checks run again."""

    trigger_name: ClassVar[str] = "exitMaintenance"


@dataclass(frozen=True, slots=True)
class LifetimeBegun(Event):
    """The lifetime is counted from now; `seconds` is its length, None when only idleness ends it."""

    seconds: float | None


@dataclass(frozen=True, slots=True)
class LifetimeChanged(Event):
    """A new plan has another length: `seconds` remain, None when only idleness ends it."""

    seconds: float | None


@dataclass(frozen=True, slots=True)
class OuterEndChanged(Event):
    """The batch job around this supervisor has another end than was known before.

    `seconds` are left of it, None for no limit; `epoch` is the same moment in seconds since the epoch; `origin` says
    how it is known.
    """

    seconds: float | None
    epoch: float | None
    origin: str


@dataclass(frozen=True, slots=True)
class LifetimeQueued(Event):
    """The lifetime is over; its end waits until fewer containers of the site end."""


@dataclass(frozen=True, slots=True)
class DrainBegun(Event):
    """The drain began.

    `reason` is lifetime, idle, payloads, drain, signal or check-failed; `deadline` is the seconds until payloads get
    SIGTERM, None for never.
    """

    reason: str
    who: str
    deadline: float | None


@dataclass(frozen=True, slots=True)
class DrainDeadlineChanged(Event):
    """A second request gave the drain another deadline, `deadline` seconds from now."""

    who: str
    deadline: float


@dataclass(frozen=True, slots=True)
class DrainDeadlineReached(Event):
    """The deadline has come: payloads got SIGTERM and have `grace` seconds for their clean-up."""

    grace: float


@dataclass(frozen=True, slots=True)
class DrainGraceExpired(Event):
    """The grace is over too: the batch system is told to kill its payloads."""


@dataclass(frozen=True, slots=True)
class DrainCompleted(Event):
    """The node is drained. `forced`: the deadline ended payloads."""

    forced: bool


@dataclass(frozen=True, slots=True)
class PayloadsEvicted(Event):
    """The batch system has returned its payloads to their queues."""


@dataclass(frozen=True, slots=True)
class PlanAdopted(Event):
    """This life follows another plan from now on; jobs that have to go are stopping."""

    changes: Changes


@dataclass(frozen=True, slots=True)
class PlanApplied(Event):
    """All jobs that the new plan ended or replaced are over, and their successors armed."""


@dataclass(frozen=True, slots=True)
class ShutdownBegun(Event):
    """The ordered stop of all jobs began."""

    trigger_name: ClassVar[str] = "shutdown"
    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class ShutdownForced(Event):
    """All remaining jobs are killed. `who` says why: a second request, or the spent budget of the stop."""

    who: str
    jobs: tuple[str, ...]
