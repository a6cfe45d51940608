"""Actions: what the core tells the shell to do. Plain data; the shell does each at once and answers with cues."""

from __future__ import annotations

from dataclasses import dataclass

from autopilot.spec.plan import Health, Job


@dataclass(frozen=True, slots=True)
class Spawn:
    """Start the job; answered by Spawned, or by Exited with a problem. `periodic`: it may wait for others' restarts."""

    job: str
    run: int
    plan: Job
    periodic: bool = False


@dataclass(frozen=True, slots=True)
class Signal:
    """To the whole group (and descendants that left it), or to the leader alone."""

    job: str
    run: int
    signal: int
    group: bool


@dataclass(frozen=True, slots=True)
class Kill:
    """SIGKILL to every process of the job, wherever it moved."""

    job: str
    run: int


@dataclass(frozen=True, slots=True)
class RunCheck:
    """Answered by Checked with the same run."""

    job: str
    run: int
    plan: Health


@dataclass(frozen=True, slots=True)
class CancelCheck:
    """The check ran out of time, or its job is gone: end it, its answer is no longer wanted."""

    job: str


@dataclass(frozen=True, slots=True)
class RequestPermit:
    """The lifetime is over, and its end waits for its turn among the hosts; answered by Permitted."""


@dataclass(frozen=True, slots=True)
class StartDrain:
    """Answered, whenever that is, by Drained."""

    reason: str


@dataclass(frozen=True, slots=True)
class TerminatePayloads:
    """Payloads are asked to end (SIGTERM)."""


@dataclass(frozen=True, slots=True)
class KillPayloads:
    """Payloads are killed, in a way the batch system notices."""


@dataclass(frozen=True, slots=True)
class EvictPayloads:
    """The stop does not wait for payloads: the batch system is to give them back to their queue. Answered by Evicted,
    within two seconds; until then its own process is not stopped."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a life ended. `reason` is one of the last words' reasons, `code` the exit code."""

    reason: str
    detail: str
    code: int


@dataclass(frozen=True, slots=True)
class Finish:
    """Everything is over: write the last words and exit."""

    outcome: Outcome
    remaining_jobs: tuple[str, ...] = ()


Action = (
    Spawn
    | Signal
    | Kill
    | RunCheck
    | CancelCheck
    | RequestPermit
    | StartDrain
    | TerminatePayloads
    | KillPayloads
    | EvictPayloads
    | Finish
)
