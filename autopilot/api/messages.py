"""Define every JSON message of the control socket and of the telemetry port.

The server, the command line and the status page share these types; `docs/api.md` and `docs/openapi.json` are
generated from them (`python -m autopilot.api`). Import this module under TYPE_CHECKING: it then costs a running
supervisor nothing.

Times are seconds since the epoch, durations are seconds, unless a field says otherwise. A field without a value is
null; a field that is marked optional may be missing. Clients must ignore fields they do not know.
"""

from __future__ import annotations

from typing import Any, Literal, NotRequired

# pydantic reads the TypedDicts for the generated documents; before Python 3.12 it can read these only
from typing_extensions import TypedDict

JobPhase = Literal[
    "waiting", "delayed", "starting", "running", "holding", "stopping", "killing", "backoff", "resting", "done"
]
GatePhase = Literal["idle", "checking", "waiting", "open", "failed"]
JobEnd = Literal["succeeded", "failed", "stopped", "never ran"]
JobHealth = Literal["unknown", "starting", "healthy", "unhealthy"]
LifetimePhase = Literal[
    "not yet counted",
    "counting",
    "over, waits for its turn to drain",
    "draining",
    "draining, payloads asked to end",
    "draining, payloads killed",
    "over",
]
ShutdownPhase = Literal["up", "stopping", "killing", "over"]
LogLevel = Literal["debug", "info", "warning", "error"]


# --- shared answers ---


class Ok(TypedDict):
    """The request has been carried out."""

    ok: Literal[True]
    """Always true."""


class Error(TypedDict):
    """The request was refused or has failed."""

    error: str
    """Sentence with the cause and the remedy."""


# --- status ---


class Wait(TypedDict, total=False):
    """Cause of a job's present state. Empty for a job that runs and is healthy."""

    waits_for: str
    """Events, or the step of a stop, that the job waits for."""
    sources: list[str]
    """Sources of the missing events: names of jobs, `watch.NAME`, signals, or "" for the supervisor."""
    gates: list[str]
    """Checks before the job that have not passed yet."""
    until: float
    """End of the wait."""
    given_up: str
    """Reason why a job never ran and never will."""
    last_check: str
    """Last 500 characters of the output of the last health check, for a job that is not healthy."""


class JobStatus(TypedDict):
    """State of one job."""

    name: str
    """Name in the job spec."""
    state: JobPhase
    """Phase of the job."""
    end: JobEnd | None
    """Result of a job in the state `done`; null in every other state.

    `succeeded`: its last run ended with 0; `failed`: with another status; `stopped`: its end was requested;
    `never ran`: it was over before its first run.
    """
    health: JobHealth | None
    """Result of the health checks; null for a job without a check."""
    pid: int | None
    """Process id of the job's first process; null while it has none."""
    status: int | None
    """Exit status of the last run as a shell shows it (128 + n for signal n); null before the first run has ended."""
    asked: bool
    """True when an operator has stopped the job."""
    runs: int
    """Number of runs, the present one included."""
    restarts: int
    """Number of restarts."""
    since: float | None
    """Time of the last change of `state`."""
    why: Wait
    """Cause of `state`."""


class GateStatus(TypedDict):
    """State of one check before jobs (`checks` of the job spec)."""

    name: str
    """Name in the job spec."""
    state: GatePhase
    """`idle`: no job waits for it; `checking` and `waiting`: its jobs wait; `open`; `failed`: the life ends."""
    before: list[str]
    """Jobs that wait for it."""
    attempts: int
    """Number of attempts since a job waits for it."""
    waited: float
    """Seconds from the first attempt until it opened or failed, or until now; 0 before."""
    answer: str
    """Last 500 characters of the last answer; "" before."""
    passed: bool
    """True when the last answer was a pass."""
    remedy: str
    """Advice for the case that it fails; may be ""."""


class OuterJobStatus(TypedDict):
    """End of the batch job around the supervisor (`lifetime.within`)."""

    ends: float | None
    """Time at which it ends; null when it has no limit."""
    source: str
    """Place from which that is known."""


class LifetimeStatus(TypedDict):
    """Progress of the container's lifetime."""

    phase: LifetimePhase
    """Phase of the lifetime."""
    ends: float | None
    """Time at which the drain begins; null without a maximum, and before the lifetime is counted."""
    reason: str | None
    """Reason of the drain: `lifetime`, `idle`, `payloads`, `drain`, `signal` or `check-failed`; null before."""
    drain_began: float | None
    """Time at which the drain began."""
    deadline: float | None
    """Time at which payloads are asked to end."""
    payloads_taken: int
    """Number of payloads that have begun in this life; 0 where no batch system counts them."""
    payload_limit: int | None
    """Number of payloads after which the node takes no other; null without a limit."""
    batch_job: OuterJobStatus | None
    """Batch job that bounds this life; null without `lifetime.within`."""


class HtcondorAdapterStatus(TypedDict):
    """State of the HTCondor node as its adapter knows it."""

    payloads: list[str]
    """Running payloads, by their job ids."""
    slots: list[dict[str, str | float | bool]]
    """Slot ads of the startd, shortened."""
    in_pool: bool | None
    """True when the collector knows the node; null before it was asked."""
    pool: str
    """Explanation of `in_pool`."""
    heartbeat_age: float | None
    """Age of condor_master's last heartbeat in seconds."""
    master: int | None
    """Process id of condor_master."""
    master_says: str
    """Status text of condor_master's last heartbeat."""
    startd: int | None
    """Process id of condor_startd."""
    drain: str | None
    """Step and action of the drain; null while the node is not drained."""
    refusing_jobs: bool
    """True when the node has told its pool to send no jobs."""
    troubles: dict[str, str]
    """Conditions of the node, by kind."""


class HtcondorStatus(HtcondorAdapterStatus):
    """State of the HTCondor node."""

    job: str | None
    """Job that runs condor_master."""


class SlurmStep(TypedDict):
    """Running step of a Slurm job."""

    job: str
    """Job id."""
    step: str
    """Name or number of the step, such as `batch`."""
    owner: str
    """User of its first process; empty before that has started."""
    pid: int
    """Process id of its slurmstepd."""


class SlurmAdapterStatus(TypedDict):
    """State of the Slurm node as its adapter knows it."""

    payloads: list[str]
    """Running payloads, by their job ids."""
    steps: list[SlurmStep]
    """Running steps."""
    node: str
    """Name of the node."""
    registered: bool | None
    """True when slurmctld knows the node; null without an answer of slurmctld."""
    states: list[str]
    """States of the node as slurmctld holds them, such as `IDLE` and `DRAIN`."""
    reason: str
    """Reason of a node that is drained or down."""
    cpus: int | None
    """CPUs that the node offers."""
    memory: int | None
    """Memory that the node offers, in MiB."""
    slurmd: int | None
    """Process id of slurmd."""
    drain: str | None
    """Last step of the drain; null while the node is not drained."""
    troubles: dict[str, str]
    """Conditions of the node, by kind."""


class SlurmStatus(SlurmAdapterStatus):
    """State of the Slurm node."""

    job: str | None
    """Job that runs slurmd."""


class AccessPointAdapterStatus(TypedDict):
    """State of HTCondor's access point as its adapter knows it."""

    name: str
    """Name of the schedd in its pool."""
    ending: Literal["queue", "handover"]
    """Drain of the life: until the queue is empty, or a handover to the next life."""
    queue: dict[str, int] | None
    """Jobs by state: `idle`, `running`, `held`, `suspended`, `completed`, `removed`, and `unmaterialized` for jobs that
    submit files with max_materialize have still to make; null while the schedd does not answer."""
    in_pool: bool | None
    """True when the collector knows the schedd; null before it was asked."""
    pool: str
    """Explanation of `in_pool`."""
    heartbeat_age: float | None
    """Age of condor_master's last heartbeat in seconds."""
    master: int | None
    """Process id of condor_master."""
    master_says: str
    """Status text of condor_master's last heartbeat."""
    schedd: int | None
    """Process id of condor_schedd."""
    spool: str
    """Directory of the queue."""
    spool_kept: bool
    """True when the spool outlives the container."""
    drain: str | None
    """Step of the drain and the queue; null while the queue is not drained."""
    refusing_jobs: bool
    """True when the schedd was told to refuse new jobs."""
    troubles: dict[str, str]
    """Conditions of the access point, by kind."""


class AccessPointStatus(AccessPointAdapterStatus):
    """State of HTCondor's access point."""

    job: str | None
    """Job that runs condor_master."""


class RegisteredService(TypedDict):
    """Service that is registered in Consul."""

    id: str
    """Service id."""
    name: str
    """Service name."""
    address: str
    """Address that clients use."""
    port: int
    """Port that clients use."""
    status: str
    """`passing`, `warning`, `critical` or `maintenance`."""


class WatchStatus(TypedDict):
    """State of one watch."""

    name: str
    """Name in the job spec."""
    instances: int
    """Number of healthy instances, or 1 for a key that has a value."""


class ConsulStatus(TypedDict):
    """State of the connection to Consul."""

    reachable: bool | None
    """True when the agent answers; null before it was asked."""
    services: list[RegisteredService]
    """Services of this container."""
    watches: list[WatchStatus]
    """Watches of the job spec."""


class Status(TypedDict):
    """State of the supervisor and of all its jobs."""

    version: str
    """Version of autopilot."""
    life: str
    """Id of this life: a new one at each start of the supervisor."""
    lifetime: LifetimeStatus
    """Progress of the lifetime."""
    maintenance: bool
    """True while maintenance is on."""
    shutdown: ShutdownPhase
    """Progress of the ordered stop; `up` while nothing is being stopped."""
    good: bool
    """True once the boot has succeeded: everything was healthy for long enough."""
    payloads: list[str]
    """Running payloads of the batch system."""
    troubles: dict[str, str]
    """Conditions that need an operator's attention, by kind."""
    jobs: list[JobStatus]
    """Jobs in the order of the job spec."""
    gates: list[GateStatus]
    """Checks before jobs, in the order of the job spec."""
    htcondor: NotRequired[HtcondorStatus]
    """State of the HTCondor node; only with an `htcondor` section in the job spec."""
    slurm: NotRequired[SlurmStatus]
    """State of the Slurm node; only with a `slurm` section in the job spec."""
    access_point: NotRequired[AccessPointStatus]
    """State of HTCondor's access point; only with an `access_point` section in the job spec."""
    consul: NotRequired[ConsulStatus]
    """State of Consul; only with a `consul` section in the job spec."""
    listener_failures: NotRequired[dict[str, int]]
    """Failures of the supervisor's own listeners (journal, metrics, ...), by listener; only when there were some."""


class PageStatus(Status):
    """State of the supervisor as the status page receives it."""

    about: dict[str, str]
    """Container, as far as known: `host`, `slot`, `container_id`, `image_digest`, `channel`, `image_reason`, `version`,
    `life`."""
    now: float
    """Time at which the message was written, for clients whose clock differs."""


class RunningPlan(TypedDict):
    """Plan of the running supervisor."""

    plan: dict[str, Any]
    """Job spec with every default filled in, in the form of `autopilot plan`. Secrets are not masked."""
    state: str
    """Path of the state directory."""


# --- requests of the control socket ---


class DrainRequest(TypedDict, total=False):
    """Options of a drain."""

    deadline: float | None
    """Seconds after which payloads are asked to end; the deadline of the job spec when missing or null."""


class JobRequest(TypedDict, total=False):
    """Options of a job's start, stop or restart."""

    wait: bool
    """Answer (200) when the job has started or stopped, or has failed to, instead of at once (202)."""


class SignalRequest(TypedDict):
    """Signal for a job."""

    signal: str
    """Name (`SIGHUP`, `hup`) or number of the signal."""
    group: NotRequired[bool]
    """Send the signal to all processes of the job, not to its first alone."""


class ReloadRequest(TypedDict, total=False):
    """Options of a reload."""

    wait: bool
    """Answer when the jobs that the new plan stops or replaces have ended."""


class ReloadResult(TypedDict):
    """Changes made by a reload, as names of jobs."""

    started: list[str]
    """New jobs that have started."""
    restarted: list[str]
    """Jobs that were stopped and started with their new settings; without `wait`, they may still be stopping."""
    not_started: list[str]
    """New jobs, and jobs stopped for new settings, not started: they wait for `when`, a file, a check or a lock."""
    updated: list[str]
    """Jobs that follow new rules; those that run keep their process."""
    removed: list[str]
    """Jobs that are stopped and removed."""
    unchanged: list[str]
    """Jobs that have not changed."""
    sections: list[str]
    """Other sections of the job spec that have changed and are in effect."""
    warnings: list[str]
    """Warnings about the job spec."""


# --- records of the streams ---


class LogRecord(TypedDict):
    """Line that a job wrote."""

    time: str
    """Time at which the line was read, ISO 8601 in UTC with milliseconds."""
    job: str
    """Name of the job."""
    stream: str
    """`stdout`, `stderr`, or the path of a followed log file."""
    line: str
    """Line without its line end."""


class EventRecord(TypedDict):
    """Event, with its own fields beside these (see the table of events)."""

    time: str
    """Time of the event, ISO 8601 in UTC with milliseconds."""
    event: str
    """Kind of the event."""
    trigger: str | None
    """Name by which a job's `when` refers to the event; null when none can."""
    level: LogLevel
    """Level of the log line."""
    says: str
    """Text of the log line; "" for an event that is not logged."""


class LostRecord(TypedDict):
    """Gap in a stream: the client read too slowly."""

    lost: int
    """Number of records that are missing at this place."""


# --- telemetry port ---


TelemetryHealth = Literal["healthy", "unhealthy", "maintenance", "completed", "unknown"]


class TelemetryJob(TypedDict):
    """Job in ContainerPilot's status."""

    Name: str
    """Name of the job."""
    Status: TelemetryHealth
    """State in ContainerPilot's words."""


class TelemetryService(TypedDict):
    """Advertised service in ContainerPilot's status."""

    Name: str
    """Name of the service."""
    Address: str
    """Address that clients use."""
    Port: int
    """Port that clients use."""
    Status: TelemetryHealth
    """State in ContainerPilot's words."""


class TelemetryStatus(TypedDict):
    """State of the supervisor in ContainerPilot's form."""

    Version: str
    """Version of autopilot."""
    Jobs: list[TelemetryJob]
    """Jobs without a port."""
    Services: list[TelemetryService]
    """Jobs with a port, and the telemetry port itself."""
    Watches: list[str]
    """Names of the watches."""


class ScrapeTarget(TypedDict):
    """Telemetry port of one container, in the form of Prometheus's HTTP service discovery."""

    targets: list[str]
    """Address and port."""
    labels: dict[str, str]
    """Labels of the target."""
