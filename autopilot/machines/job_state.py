"""Define the phases, the inputs and the state of one job, and the context of its steps."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum

from autopilot.machines import cron_schedule, events
from autopilot.machines.actions import Action
from autopilot.machines.backoff import FailureStreak
from autopilot.machines.cues import Exited
from autopilot.machines.deadlines import compute_deadline
from autopilot.machines.tables import StepContext
from autopilot.spec.plan import Job, Trigger


class Phase(Enum):
    """Activity of a job."""

    WAITING = "waiting"  # for its `when`
    DELAYED = "delayed"  # its `when` came true, its delay runs
    STARTING = "starting"  # a process was requested; it may have to wait for a lock
    RUNNING = "running"
    HOLDING = "holding"  # stopping, or ended by itself, but its pre-stop jobs go first
    STOPPING = "stopping"  # asked to end
    KILLING = "killing"  # SIGKILL was sent
    BACKOFF = "backoff"  # ended; runs again at the deadline
    RESTING = "resting"  # between two runs of a periodic or an `each` job
    DONE = "done"


class Input(Enum):
    """Input of the job machine: news of its process, or a wish."""

    TRIGGERED = "triggered"  # its `when` is true
    SPAWNED = "spawned"
    EXITED = "exited"
    EMPTIED = "emptied"
    ELAPSED = "elapsed"  # the deadline has come
    STOP = "stop"
    HOLD = "hold"  # stop, but wait for the pre-stop jobs first
    RELEASE = "release"  # the pre-stop jobs are over
    START = "start"
    RESTART = "restart"
    RECYCLE = "recycle"  # end this run, and start the next one after the back-off
    RELOAD = "reload"  # SIGHUP: it reads its configuration again
    RETIRE = "retire"  # let it run, but never again
    ASK = "ask to end"  # its stop signal, without a limit of time; never again
    HURRY = "hurry"  # no more patience: kill
    ABANDON = "abandon"  # its `when` can never come true any more


ALIVE_PHASES = frozenset({Phase.STARTING, Phase.RUNNING, Phase.HOLDING, Phase.STOPPING, Phase.KILLING})
WAITING_PHASES = frozenset({Phase.WAITING, Phase.RESTING})  # for the `when`, the first time or again
IDLE_PHASES = WAITING_PHASES | {Phase.DELAYED, Phase.BACKOFF}  # no process now, but one may follow


@dataclass(frozen=True, slots=True)
class JobState:
    """State of one job between two steps. Moments are seconds on the core's clock."""

    phase: Phase = Phase.WAITING
    since: float = 0.0  # moment at which the job entered its phase
    deadline: float | None = None
    want_up: bool = True
    run: int = 0
    pid: int | None = None
    started: float = 0.0  # moment at which its last run began
    status: int | None = None  # of its last run
    oom: bool = False  # its last run was killed for want of memory
    given_up: str = ""  # why a job that never ran never will: a sentence that begins with "it waited"
    stop_requested: bool = False  # the end of this run was requested
    stop_requested_at: float = 0.0
    has_run: bool = False  # a run was begun
    run_over: bool = False  # its last process is gone; only its pre-stop jobs delay its end
    pre_stop_over: bool = False  # its pre-stop jobs are over for this run, or not waited for any more
    stop_announced: bool = False  # JobStopping was emitted for this run
    escalations_sent: int = 0  # number of the stop's further signals that were sent
    restart_when_empty: bool = False  # start again when the last process is gone, however few restarts remain
    recycle_cause: str = ""  # reason for which this run is ended for a restart with back-off
    trigger_pending: bool = False  # an `each` event came while it was running
    restarts_remaining: int | None = 0  # None: without limit
    restarts: int = 0  # number of restarts so far
    streak: FailureStreak = FailureStreak()
    startup_grace: float = 0.0  # s; a job that its check restarts in a crash loop gets so much more time to come up
    next_run: cron_schedule.NextRun | None = None  # of a job with `cron`


Effect = Action | events.Event
Step = tuple[JobState, tuple[Effect, ...]]


@dataclass(frozen=True, slots=True)
class JobContext(StepContext[JobState]):
    """Arguments of one step of a job."""

    job: Job
    exited: Exited | None
    pid: int | None
    draw: float
    clock: cron_schedule.Clock | None
    has_pre_stop_jobs: bool
    cause: str
    is_held: bool
    was_healthy: bool
    missing_triggers: tuple[Trigger, ...]

    def enter_phase(self, phase: Phase, *effects: Effect, deadline_in: float | None = None, **changes: object) -> Step:
        """Enter `phase` with a deadline `deadline_in` seconds from now."""
        deadline = compute_deadline(self.now, deadline_in)
        state = replace(self.state, phase=phase, since=self.now, deadline=deadline, **changes)  # type: ignore[arg-type]
        return state, effects

    def keep_phase(self, *effects: Effect, **changes: object) -> Step:
        """Change fields of the state; the phase and its deadline stay."""
        return replace(self.state, **changes), effects  # type: ignore[arg-type]

    def update_state(self, **changes: object) -> JobContext:
        """Return the context with some fields of its state changed."""
        return replace(self, state=replace(self.state, **changes))  # type: ignore[arg-type]


def build_initial_state(job: Job, now: float) -> JobState:
    """Build the state of a job that waits for its `when`."""
    timeout = 0.0 if job.when.cron is not None else job.when.timeout  # the clock is checked at once
    return JobState(since=now, deadline=compute_deadline(now, timeout), restarts_remaining=job.restarts)
