"""Define the cues: news from the outside for the core, as plain data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from autopilot.spec.plan import Plan


@dataclass(frozen=True, slots=True)
class Exited:
    """A job's leader ended.

    `status` is that of a shell: 0..255, 128+n for signal n. `problem` says why it could not even start ("cannot execute
    ...: no such file"), with status 126 or 127. `leftovers` is the number of members of the job that are still alive.
    """

    job: str
    run: int
    status: int
    leftovers: int = 0
    problem: str | None = None
    oom: bool = False  # ended by the kernel's out-of-memory killer


@dataclass(frozen=True, slots=True)
class Spawned:
    """A job's process exists (its exec may still fail: then Exited follows with the problem)."""

    job: str
    run: int
    pid: int


@dataclass(frozen=True, slots=True)
class GroupEmptied:
    """The last process of a job whose leader had ended is gone."""

    job: str
    run: int


@dataclass(frozen=True, slots=True)
class CheckFinished:
    """A health check finished, or ran out of time (`passed` False). `run` is the job's run that it belongs to."""

    job: str
    run: int
    passed: bool
    output: str = ""


@dataclass(frozen=True, slots=True)
class GateAnswered:
    """The check of a gate finished; `attempt` is the one that it was ordered for."""

    gate: str
    attempt: int
    passed: bool
    output: str = ""


@dataclass(frozen=True, slots=True)
class PayloadsObserved:
    """The batch system runs these payloads here now; an id is unique in the whole pool."""

    payloads: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PayloadsCounted:
    """The batch system has begun `count` payloads here since the beginning of this life, ended ones included."""

    count: int


@dataclass(frozen=True, slots=True)
class PayloadsCrashed:
    """The batch system's own process crashed, and these payloads with it: their queue does not know yet.

    `cause` is one clause, "the daemon (pid 12) crashed or was killed".
    """

    payloads: tuple[str, ...]
    cause: str


@dataclass(frozen=True, slots=True)
class PayloadEndsFound:
    """The batch system knows how these payloads ended; `failed_fast` are those that soon ended with an error."""

    payloads: tuple[str, ...]
    failed_fast: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class OuterEndObserved:
    """The batch job around this supervisor ends after `seconds`, None for no limit.

    `epoch` is the same moment in seconds since the epoch, and `origin` says in a few words how it is known.
    """

    seconds: float | None
    epoch: float | None
    origin: str


@dataclass(frozen=True, slots=True)
class Drained:
    """The drain is complete: no payload runs and no new one can start."""


@dataclass(frozen=True, slots=True)
class Evicted:
    """The payloads of an ordered stop were returned, or had their time: the batch system may be stopped."""


@dataclass(frozen=True, slots=True)
class ConditionDetected:
    """A condition of the node began; `kind` is its short name, `detail` one sentence with the remedy."""

    kind: str
    detail: str


@dataclass(frozen=True, slots=True)
class ConditionResolved:
    """The condition of that kind is over."""

    kind: str


@dataclass(frozen=True, slots=True)
class WatchChanged:
    """The healthy instances of a watched service are others than before, or a watched key has another value.

    `healthy`: there is at least one instance, or the key is there.
    """

    watch: str
    healthy: bool


@dataclass(frozen=True, slots=True)
class TemplateWritten:
    """A rendered file has changed; `reload` and `restart` name the jobs that have to read it."""

    path: str
    reload: str | None = None
    restart: str | None = None


@dataclass(frozen=True, slots=True)
class TemplateRendered:
    """A template was rendered for the first time in this life, whether its file has changed or not."""

    name: str
    path: str


@dataclass(frozen=True, slots=True)
class PermitGranted:
    """This container may end now. `confirmed` False: Consul did not answer, and the lock is open."""

    confirmed: bool


@dataclass(frozen=True, slots=True)
class PermitLost:
    """A job that has to stop without its permit has lost it: another host may run it now."""

    job: str


@dataclass(frozen=True, slots=True)
class Deregistered:
    """Our services are deregistered, or the attempt was given up: the registry's agent may stop now."""


@dataclass(frozen=True, slots=True)
class RequestReceived:
    """An operator, a signal or another program made a request. `requested_by` is for the logs ("SIGTERM").

    `terminate` is the request of a signal: a drain or a stop, as the plan says, and each further one hurries it.
    """

    request: Literal[
        "terminate",
        "stop",
        "drain",
        "start-job",
        "stop-job",
        "restart-job",
        "signal-job",
        "enter-maintenance",
        "leave-maintenance",
    ]
    requested_by: str
    job: str = ""
    deadline: float | None = None  # for a drain: seconds, replaces the lifetime's
    signal: int = 0  # for signal-job: to its leader, or to the whole job
    group: bool = False


@dataclass(frozen=True, slots=True)
class PlanChanged:
    """This life has to follow another plan, for which `plan_changes.list_refusals` has found no reason against."""

    plan: Plan


@dataclass(frozen=True, slots=True)
class SignalArrived:
    """A signal arrived that jobs may wait for (SIGHUP, SIGUSR2)."""

    name: str


Cue = (
    Spawned
    | Exited
    | GroupEmptied
    | CheckFinished
    | GateAnswered
    | PayloadsObserved
    | PayloadsCounted
    | PayloadsCrashed
    | PayloadEndsFound
    | OuterEndObserved
    | Drained
    | Evicted
    | ConditionDetected
    | ConditionResolved
    | WatchChanged
    | TemplateWritten
    | TemplateRendered
    | PermitGranted
    | PermitLost
    | Deregistered
    | PlanChanged
    | SignalArrived
    | RequestReceived
)
