"""Define the actions: orders of the core to the shell, which carries each out at once and answers with cues."""

from __future__ import annotations

from dataclasses import dataclass

from autopilot.spec.plan import Gate, Health, Job


@dataclass(frozen=True, slots=True)
class Spawn:
    """Start the job; answered by Spawned, or by Exited with a problem. `periodic`: other jobs' starts go first."""

    job: str
    run: int
    plan: Job
    periodic: bool = False


@dataclass(frozen=True, slots=True)
class Signal:
    """Send a signal to the leader alone, or to the whole group and the descendants that left it."""

    job: str
    run: int
    signal: int
    group: bool


@dataclass(frozen=True, slots=True)
class Reload:
    """Send SIGHUP to the leader as soon as it has a handler; never to a process that would die of it."""

    job: str
    run: int


@dataclass(frozen=True, slots=True)
class Kill:
    """Send SIGKILL to every process of the job, also to those that left its group."""

    job: str
    run: int


@dataclass(frozen=True, slots=True)
class RunCheck:
    """Run the health check; answered by CheckFinished with the same run."""

    job: str
    run: int
    plan: Health


@dataclass(frozen=True, slots=True)
class CancelCheck:
    """End the running check: it ran out of time, or its job is gone."""

    job: str


@dataclass(frozen=True, slots=True)
class AskGate:
    """Run the check of a gate; answered by GateAnswered with the same attempt."""

    gate: str
    attempt: int
    plan: Gate


@dataclass(frozen=True, slots=True)
class CancelGate:
    """End the running check of a gate: it ran out of time, or no job waits for it any more."""

    gate: str


@dataclass(frozen=True, slots=True)
class RequestPermit:
    """Ask for this container's turn to end among the hosts; answered by PermitGranted."""


@dataclass(frozen=True, slots=True)
class StartDrain:
    """Let payloads finish and accept no new ones; answered by Drained, after however long."""

    reason: str


@dataclass(frozen=True, slots=True)
class TerminatePayloads:
    """Ask payloads to end (SIGTERM)."""


@dataclass(frozen=True, slots=True)
class KillPayloads:
    """Kill payloads, in a way that the batch system notices."""


@dataclass(frozen=True, slots=True)
class EvictPayloads:
    """Let the batch system return its payloads to their queue: the stop does not wait for them.

    Answered by Evicted within five seconds; until then the batch system's main process is not stopped.
    """


@dataclass(frozen=True, slots=True)
class Outcome:
    """End of a life. `reason` is one of the last words' reasons, `code` the exit code."""

    reason: str
    detail: str
    code: int


@dataclass(frozen=True, slots=True)
class Finish:
    """Write the last words and exit: the life is over."""

    outcome: Outcome
    remaining_jobs: tuple[str, ...] = ()


Action = (
    Spawn
    | Signal
    | Reload
    | Kill
    | RunCheck
    | CancelCheck
    | AskGate
    | CancelGate
    | RequestPermit
    | StartDrain
    | TerminatePayloads
    | KillPayloads
    | EvictPayloads
    | Finish
)
