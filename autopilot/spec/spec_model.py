"""Model the job spec for pydantic: frozen, without unknown keys, one field for each key that a user may write.

This is the second of the three types that `autopilot.spec.plan` describes. A field that is None was not written; the
compiler fills in the defaults, because many of them depend on other keys. Keys are in snake_case here:
`autopilot.spec.keys` has converted both spellings.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

from pydantic import BeforeValidator, Field, PlainValidator, create_model

from autopilot.spec import fields as f
from autopilot.spec.batch_section import BatchSection, build_drain_field, build_section_field
from autopilot.spec.containerpilot_model import Consul, ConsulAgent, Lock, ServiceConsul, Telemetry, Template, Watch
from autopilot.spec.extensions import BATCH_SYSTEMS, CHECK_KINDS, join_names, load_batch_system, load_check_kind
from autopilot.spec.model_base import Shorthand, StrictModel
from autopilot.spec.quantities import InvalidValueError, format_value
from autopilot.spec.vocabulary import BATCH_WORD, SECRET_NAMES

OnFailure = Annotated[
    Literal["event", "restart", "drain", "shutdown"],
    PlainValidator(f.build_choice_validator("event", "restart", "drain", "shutdown")),
]
OnGateFailure = Annotated[
    Literal["neutral", "failed", "start", "wait"],
    PlainValidator(f.build_choice_validator("neutral", "failed", "start", "wait")),
]
OnSigterm = Annotated[Literal["stop", "drain"], PlainValidator(f.build_choice_validator("stop", "drain"))]
Status = Annotated[
    Literal["passing", "warning", "critical"],
    PlainValidator(f.build_choice_validator("passing", "warning", "critical")),
]
LogFormat = Annotated[
    Literal["default", "auto", "text", "json"],
    PlainValidator(f.parse_log_format),
]


class Trigger(StrictModel):
    """An event to wait for."""

    source: f.OptionalText = Field(
        default=None, description="a job, watch.NAME, SIGHUP or SIGUSR2; left out: the supervisor itself"
    )
    once: f.Text = Field(description="the event, e.g. healthy or exitSuccess")


class When(StrictModel):
    """Conditions of a job's runs; without them it runs once at startup."""

    source: f.OptionalText = Field(
        default=None, description="a job, watch.NAME, SIGHUP or SIGUSR2; left out: the supervisor itself"
    )
    once: f.Text | None = Field(default=None, description="run at the first such event of the source")
    each: f.Text | None = Field(default=None, description="run at each such event of the source")
    all: tuple[Trigger, ...] | None = Field(default=None, description="run once all of these events have been seen")
    interval: f.PositiveDuration | None = Field(
        default=None, description="alone: run at this interval; beside once or all: the delay before the run"
    )
    timeout: f.PositiveDuration | None = Field(
        default=None, description="give up waiting for the event after this time"
    )
    cron: f.Cron | None = Field(default=None, description="alone: run at the times this cron expression names")
    timezone: f.Text | None = Field(default=None, description="time zone of cron; this machine's when left out")


class Backoff(StrictModel):
    """The delay before a restart: initial * factor^k, at most max, give or take the jitter."""

    initial: f.Duration = Field(default=0.5, description="before the first restart of a streak")
    factor: f.Factor = Field(default=2.0, description="growth from one restart to the next")
    max: f.PositiveDuration = Field(default=30.0, description="the longest delay")
    jitter: f.Share = Field(default=0.1, description="share of the delay that is random")
    reset_after: f.Duration = Field(default=60.0, description="a run of at least this time ends the streak")


class Escalation(StrictModel):
    """A further signal to a job that has not stopped yet."""

    after: f.PositiveDuration = Field(description="time since the stop began")
    signal: f.SignalNumber = Field(description="the signal to send")


class Stop(StrictModel):
    """Settings of a job's stop."""

    signal: f.SignalNumber | None = Field(default=None, description="the signal that asks it to stop; SIGTERM")
    timeout: f.PositiveDuration | None = Field(
        default=None, description="then SIGKILL to every remaining process; 5 s, 30 s for condor_master"
    )
    escalate: tuple[Escalation, ...] | None = Field(default=None, description="further signals before the timeout")
    order: f.Order = Field(
        default=0, description="jobs of a lower order have ended before jobs of a higher order are stopped"
    )
    group: f.Flag | None = Field(
        default=None, description="true: signal the whole process group; false: the leader alone"
    )


class Raw(StrictModel):
    """Settings of a process's output."""

    raw: f.Flag = Field(default=False, description="without prefixes, as the process wrote it")


class FollowedFiles(StrictModel):
    """Files that a job writes."""

    path: f.AbsolutePath = Field(description="a file, or several by wildcards")
    first_line: f.Expression | None = Field(
        default=None, description="a regular expression: lines that do not match belong to the line before"
    )


class Output(Raw):
    """Settings of a job's output."""

    files: tuple[FollowedFiles, ...] = Field(default=(), description="files that it writes, followed like its output")


if TYPE_CHECKING:

    class CheckFields(StrictModel):
        """The keys of the kinds of checks; those of the built-in ones that rules know by name."""

        exec: tuple[str, ...] | None
else:
    CheckFields = create_model(
        "CheckFields",
        __base__=StrictModel,
        **{name: load_check_kind(name).build_field() for name in CHECK_KINDS},
    )


class Health(CheckFields):  # noqa: D101 - its docstring is computed from the kinds of checks
    __doc__ = f"A health check: one of {join_names(CHECK_KINDS, 'and')}."

    interval: f.PositiveDuration = Field(default=10.0, description="from one check to the next")
    timeout: f.PositiveDuration | None = Field(default=None, description="the longest a check may take; the interval")
    ttl: f.PositiveDuration | None = Field(
        default=None, description="healthy for so long after a success; interval + timeout"
    )
    initial_delay: f.Duration = Field(default=0.0, description="before the first check")
    failures: f.Count | None = Field(
        default=None, description="in a row, to become unhealthy; 1, or 3 when on_failure acts"
    )
    successes: f.Count = Field(default=1, description="in a row, to become healthy again")
    on_failure: OnFailure = Field(default="event", description="what becoming unhealthy does beside the event")
    logging: Raw = Field(default=Raw(), description="how the check's output is logged")

    @property
    def given_kinds(self) -> list[str]:
        """The kinds of check that are written; exactly one, unless something is wrong."""
        return [name for name in CHECK_KINDS if getattr(self, name) is not None]


class Gate(CheckFields):
    """A check that must pass once before the jobs that it guards start."""

    name: f.Name = Field(description="unique; for the log, the status and the metrics")
    before: f.TextList = Field(default=(), description="the jobs that wait for it; all jobs when left out")
    retry: f.PositiveDuration = Field(default=10.0, description="from a failed attempt to the next one")
    attempt_timeout: f.PositiveDuration = Field(default=10.0, description="the longest that one attempt may take")
    timeout: f.Duration = Field(
        default=300.0, description="from the first attempt to the last one; 0: a single attempt"
    )
    on_failure: OnGateFailure = Field(
        default="neutral",
        description="when it has not passed in time: the life ends neutral (75) or failed (78), or jobs start or wait",
    )
    remedy: f.Text | None = Field(default=None, description="what a person should do when it fails, for messages")

    @property
    def given_kinds(self) -> list[str]:
        """The kinds of check that are written; exactly one, unless something is wrong."""
        return [name for name in CHECK_KINDS if getattr(self, name) is not None]


class Job(StrictModel):
    """A process that the supervisor runs, or a service that it only checks."""

    name: f.Name | None = Field(default=None, description="unique; the program when left out")
    exec: f.Argv | None = Field(
        default=None,
        description="the command: a string split at spaces, or an array; left out: a service that is only checked",
    )
    when: When | None = Field(default=None, description="when it runs; once at startup when left out")
    timeout: f.PositiveDuration | None = Field(
        default=None, description="kill the whole job after this time; without limit when left out"
    )
    stop_timeout: f.Duration | None = Field(
        default=None, description="how long its stop waits for the jobs that run at its event stopping"
    )
    restarts: f.Restarts | None = Field(
        default=None,
        description='a number, "unlimited", "on-failure" or "never"; for an interval job: how many more runs',
    )
    essential: f.Flag = Field(default=False, description="its end is the container's end, with its exit code")
    user: f.User | None = Field(default=None, description="run as this user")
    group: f.User | None = Field(default=None, description="run as this group; the user's own when left out")
    cwd: f.AbsolutePath | None = Field(default=None, description="working directory")
    umask: f.Umask | None = Field(default=None, description="octal string")
    env: f.Environment = Field(default_factory=dict, description="environment variables, over the supervisor's own")
    env_file: f.AbsolutePath | None = Field(default=None, description="a file of NAME=VALUE lines, below env")
    limits: f.Limits = Field(default_factory=dict, description="resource limits, e.g. {nofile: 65536}")
    no_new_privs: f.Flag | None = Field(
        default=None, description="no program it executes gains privileges; true with a user other than root"
    )
    capabilities: f.Capabilities | None = Field(
        default=None, description='the capabilities it can have at most (bounding set), or "none"'
    )
    secure_bits: f.SecureBits = Field(default=0, description="rules for root's capabilities, by systemd's names")
    backoff: Backoff = Field(default=Backoff(), description="delay between restarts")
    stop: Stop = Field(default=Stop(), description="how it is stopped")
    health: Health | None = Field(default=None, description="its health check; required with a port")
    logging: Output = Field(default=Output(), description="how its output is logged")
    port: f.Port | None = Field(default=None, description="the port of the service it offers")
    initial_status: Status | None = Field(default=None, description="status to register with, before the first check")
    tags: f.TextList = Field(default=(), description="tags of the service")
    meta: f.Metadata = Field(default_factory=dict, description="further metadata of the service")
    interfaces: f.Interfaces = Field(
        default=("eth0:inet", "inet"), description="where to take the service's address from; the first that matches"
    )
    consul: ServiceConsul = Field(default=ServiceConsul(), description="Consul's own settings for the service")

    @property
    def label(self) -> str:
        """The name; the program when no name is given."""
        return self.name or (self.exec or ("",))[0]


BATCH_SECTIONS = {name: load_batch_system(name).load_section() for name in BATCH_SYSTEMS}

if TYPE_CHECKING:

    class DrainFields(StrictModel):
        """The keys of the batch systems."""
else:
    DrainFields = create_model(
        "DrainFields",
        __base__=StrictModel,
        **{name: build_drain_field(section) for name, section in BATCH_SECTIONS.items()},
    )


class Drain(DrainFields):
    """Drain of the batch system: its own way, or a command and a test."""

    exec: f.Argv | None = Field(default=None, description="the command that begins the drain")
    until: f.Argv | None = Field(default=None, description="the command that exits 0 when all is drained")
    poll: f.PositiveDuration = Field(default=5.0, description="how often `until` is asked")

    @property
    def given_systems(self) -> list[str]:
        """The batch systems that are to drain in their own way."""
        return [name for name in BATCH_SYSTEMS if getattr(self, name)]


def _expand_within(value: Any) -> Any:
    if value == BATCH_WORD:
        return {}
    if isinstance(value, str):
        raise InvalidValueError(f'cannot be {format_value(value)}; write "{BATCH_WORD}" or {{exec: [...]}}')
    return value


class Within(StrictModel):
    """The batch job around this supervisor, before whose end the life must be over."""

    exec: f.Argv | None = Field(
        default=None, description="a command that prints the seconds left, or unlimited; left out: Slurm or HTCondor"
    )
    poll: f.PositiveDuration = Field(default=300.0, description="how often the end is looked up again")
    margin: f.Duration = Field(default=30.0, description="time that the life's end must be before the end at least")


class Lifetime(StrictModel):
    """Limits of this container's life, after which it drains and ends."""

    max: f.PositiveDuration | None = Field(default=None, description="counted from `after`")
    jitter: f.Duration = Field(default=0.0, description="a random part of this is added to max, drawn once")
    after: Trigger | None = Field(default=None, description="the event from which max counts; startup when left out")
    idle: f.PositiveDuration | None = Field(
        default=None, description="end earlier when no payload has run for this time"
    )
    payloads: f.Count | None = Field(
        default=None, description="take so many payloads and no more, and end when they have ended"
    )
    drain: Drain | None = Field(default=None, description="the batch system's own way when its section is there")
    deadline: f.PositiveDuration | None = Field(
        default=None, description="from the start of the drain to the soft stop of the remaining payloads"
    )
    grace: f.Duration = Field(default=300.0, description="from the soft stop to the hard one")
    within: Annotated[Within | None, BeforeValidator(_expand_within), Shorthand("string")] = Field(
        default=None, description='"batch", or an object: be over before the batch job around this supervisor ends'
    )


class LogForward(StrictModel):
    """Another host that gets the log, as syslog messages (RFC 5424) or by OTLP/HTTP."""

    to: f.LogUrl = Field(description="tcp://, tls:// or udp://HOST:PORT for syslog, otlp+http(s)://HOST:PORT for OTLP")
    facility: f.Facility = Field(default="daemon", description="a syslog facility such as daemon or local0")
    ca_file: f.AbsolutePath | None = Field(default=None, description="the CA of the host; the system's when left out")
    cert_file: f.AbsolutePath | None = Field(default=None, description="our certificate, for a host that asks for one")
    key_file: f.AbsolutePath | None = Field(default=None, description="the key of cert_file")
    headers: f.Headers = Field(default_factory=dict, description="HTTP headers, for OTLP; a token for example")
    buffer: f.Size = Field(default=1 << 20, description="lines that wait while the host is away")
    spill: f.Size | None = Field(
        default=None,
        description="lines that wait in the state directory when the buffer is full, or the life ends",
    )

    @property
    def url(self) -> str:
        """The destination in one form."""
        protocol, host, port, path = self.to
        return f"{protocol}://{f'[{host}]' if ':' in host else host}:{port}{path}"


class Redact(StrictModel):
    """Secrets that are removed from lines that leave this host."""

    names: f.TextList = Field(
        default=SECRET_NAMES, description="environment variables whose values are secrets, with wildcards"
    )
    patterns: f.Expressions = Field(default=(), description="regular expressions; each match is a secret")


class Logging(StrictModel):
    """The supervisor's own log."""

    level: f.LogLevel = Field(default="INFO", description="DEBUG, INFO, WARN, ERROR, FATAL or PANIC")
    format: LogFormat = Field(default="default", description="default and auto: text on a terminal, JSON elsewhere")
    output: f.LogOutput = Field(default="stdout", description="stdout, stderr or a file, which SIGUSR1 reopens")
    forward: tuple[LogForward, ...] = Field(default=(), description="hosts that get the log too")
    redact: Redact = Field(default_factory=Redact, description="secrets that are removed from what is forwarded")


class Control(StrictModel):
    """The control socket."""

    socket: f.SocketPath | None = Field(default=None, description="its path; STATE/autopilot.sock when left out")


class BatchChoice(NamedTuple):
    """The batch system of a container: its name in BATCH_SYSTEMS and its section."""

    name: str
    section: BatchSection


class SpecBasis(StrictModel):
    """The first keys of a job spec."""

    jobs: tuple[Job, ...] = Field(default=(), description="the processes of this container")
    checks: tuple[Gate, ...] = Field(default=(), description="gates: checks that must pass before jobs start")
    lifetime: Lifetime | None = Field(default=None, description="how long this container lives")


if TYPE_CHECKING:

    class SpecWithBatchSections(SpecBasis):
        """The keys of the batch systems beside them."""
else:
    SpecWithBatchSections = create_model(
        "SpecWithBatchSections",
        __base__=SpecBasis,
        **{name: build_section_field(section) for name, section in BATCH_SECTIONS.items()},
    )


class Spec(SpecWithBatchSections):
    """A job spec of autopilot."""

    stop_timeout: f.Duration | None = Field(
        default=None,
        description="from the start of the stop to the kill; by default the longest ordered stop, at least 5 s",
    )
    on_sigterm: OnSigterm = Field(default="stop", description="what SIGTERM starts: stop or drain")
    healthy_for: f.Duration = Field(
        default=120.0, description="the boot has succeeded after being healthy for this time"
    )
    state: f.AbsolutePath | None = Field(default=None, description="the state directory")
    logging: Logging | None = Field(default=None, description="the supervisor's own log")
    control: Control | None = Field(default=None, description="the control socket")
    consul: Annotated[
        Consul | None, BeforeValidator(lambda v: {"address": v} if isinstance(v, str) else v), Shorthand("string")
    ] = Field(default=None, description="host:port, or an object")
    consul_agent: ConsulAgent | None = Field(default=None, description="run Consul's agent in this container")
    templates: tuple[Template, ...] = Field(default=(), description="files rendered from the environment and Consul")
    locks: tuple[Lock, ...] = Field(default=(), description="limits between hosts, through Consul")
    telemetry: Telemetry | None = Field(default=None, description="metrics and status over HTTP")
    watches: tuple[Watch, ...] = Field(default=(), description="services of Consul to watch")

    @property
    def given_batch_systems(self) -> list[str]:
        """The batch systems whose sections are written; at most one, unless something is wrong."""
        return [name for name in BATCH_SYSTEMS if getattr(self, name) is not None]

    @cached_property
    def batch(self) -> BatchChoice | None:
        """The batch system in this container.

        A job that runs its main process implies the section, with the configuration it brings itself: it must be
        watched and drained whether its spec says so or not (ContainerPilot's cannot). `false` denies.
        """
        for name in self.given_batch_systems:
            return BatchChoice(name, getattr(self, name))
        for name, section in BATCH_SECTIONS.items():
            if name not in self.model_fields_set and len(self._list_jobs_running(section.program)) == 1:
                return BatchChoice(name, section())
        return None

    def _list_jobs_running(self, program: str) -> list[Job]:
        return [job for job in self.jobs if job.exec and job.exec[0].rsplit("/", 1)[-1] == program]

    @cached_property
    def batch_jobs(self) -> list[Job]:
        """The jobs that may be the batch system's main process: one, unless something is wrong."""
        if self.batch is None:
            return []
        section = self.batch.section
        if section.job is None:
            return self._list_jobs_running(section.program)
        return [job for job in self.jobs if job.label == section.job]

    def compute_stop_limit(self, job: Job) -> float:
        """Return the seconds from a job's first signal to its SIGKILL.

        A batch system's main process has longer: it stops its daemons first, and they stop their payloads.
        """
        if job.stop.timeout:
            return job.stop.timeout
        batch = self.batch
        return batch.section.stop_timeout_s if batch and any(job is one for one in self.batch_jobs) else 5.0
