"""Cues: what the shell tells the core. Each says one thing that happened outside, in plain data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from autopilot.spec.plan import Plan


@dataclass(frozen=True, slots=True)
class Exited:
    """A job's leader ended. `status` is the shell's: 0..255, 128+n for signal n. `problem` says why it could not even
    start ("cannot execute ...: no such file"), with status 126 or 127. `leftovers`: members of the job still alive."""

    job: str
    run: int
    status: int
    leftovers: int = 0
    problem: str | None = None
    oom: bool = False  # the kernel's out-of-memory killer did it


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
    """A health check finished (or ran out of time: `passed` False). `run` is the job's run it belongs to."""

    job: str
    run: int
    passed: bool
    output: str = ""


@dataclass(frozen=True, slots=True)
class PayloadsObserved:
    """What the batch system runs here now: one id for each payload (its name in the whole pool)."""

    payloads: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Drained:
    """The drain that was begun is complete: nothing runs and nothing new can start."""


@dataclass(frozen=True, slots=True)
class Evicted:
    """The payloads of an ordered stop have been given back, or have had their time: the batch system may be stopped."""


@dataclass(frozen=True, slots=True)
class ConditionDetected:
    """A condition of the batch node began: `kind` like "startd-hung", `detail` one sentence with the remedy."""

    kind: str
    detail: str


@dataclass(frozen=True, slots=True)
class ConditionResolved:
    """The condition of that kind is over."""

    kind: str


@dataclass(frozen=True, slots=True)
class WatchChanged:
    """The healthy instances of a watched service are others than before, or a watched key has another value;
    `healthy`: there are any, the key is there."""

    watch: str
    healthy: bool


@dataclass(frozen=True, slots=True)
class TemplateWritten:
    """A rendered file has changed; `reload` and `restart` name jobs that are to take notice."""

    path: str
    reload: str | None = None
    restart: str | None = None


@dataclass(frozen=True, slots=True)
class PermitGranted:
    """It is this container's turn to end. `known` False: Consul did not answer, and the lock is open."""

    confirmed: bool


@dataclass(frozen=True, slots=True)
class Deregistered:
    """Our services are out of the registry, as far as that can be had: its agent may stop now."""


@dataclass(frozen=True, slots=True)
class RequestReceived:
    """A person, a signal or another program wants something. `who` is said in the logs ("SIGTERM", "control socket").

    `terminate` is what a signal asks: a drain or a stop, as the plan says, and each further one hurries it.
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
    """Somebody wants this life to follow another plan. It has been looked at: `machines.changes.refusals` has none."""

    plan: Plan


@dataclass(frozen=True, slots=True)
class SignalArrived:
    """A signal jobs may wait for (SIGHUP, SIGUSR2)."""

    name: str


Cue = (
    Spawned
    | Exited
    | GroupEmptied
    | CheckFinished
    | PayloadsObserved
    | Drained
    | Evicted
    | ConditionDetected
    | ConditionResolved
    | WatchChanged
    | TemplateWritten
    | PermitGranted
    | Deregistered
    | PlanChanged
    | SignalArrived
    | RequestReceived
)
