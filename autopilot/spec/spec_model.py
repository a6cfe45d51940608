"""Model the job spec for pydantic: frozen, without unknown keys, one field for each key that a user may write.

This is the second of the three types that `autopilot.spec.plan` describes. A field that is None was not written; the
compiler fills in the defaults, because many of them depend on other keys. Keys are in snake_case here:
`autopilot.spec.keys` has converted both spellings.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PlainValidator

from autopilot.spec import fields as f
from autopilot.spec.containerpilot_model import Consul, ConsulAgent, Lock, ServiceConsul, Telemetry, Template, Watch
from autopilot.spec.model_base import StrictModel

OnFailure = Annotated[
    Literal["event", "restart", "drain", "shutdown"],
    PlainValidator(f.build_choice_validator("event", "restart", "drain", "shutdown")),
]
OnSigterm = Annotated[Literal["stop", "drain"], PlainValidator(f.build_choice_validator("stop", "drain"))]
Aspect = Annotated[
    Literal["startd", "pool", "master", "space"],
    PlainValidator(f.build_choice_validator("startd", "pool", "master", "space")),
]
Status = Annotated[
    Literal["passing", "warning", "critical"],
    PlainValidator(f.build_choice_validator("passing", "warning", "critical")),
]
LogFormat = Annotated[
    Literal["default", "auto", "text", "json"],
    PlainValidator(f.build_choice_validator("default", "auto", "text", "json")),
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


class Http(StrictModel):
    """A health check by HTTP GET."""

    url: f.Url = Field(description="the address to get")
    status: f.StatusRange = Field(default=(200, 399), description="the status, or range of them, that passes")
    header: f.Headers = Field(default_factory=dict, description="headers to send")


class Health(StrictModel):
    """A health check: one of exec, http, tcp and htcondor."""

    exec: f.Argv | None = Field(default=None, description="a command; exit code 0 passes")
    http: Annotated[Http | None, BeforeValidator(lambda v: {"url": v} if isinstance(v, str) else v)] = Field(
        default=None, description="a URL, or an object with url, status, header"
    )
    tcp: f.HostPort | None = Field(default=None, description="host:port that must accept a connection")
    htcondor: Aspect | None = Field(default=None, description="startd, pool, master or space")
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


class Job(StrictModel):
    """A process that the supervisor runs, or a service that it only checks."""

    name: f.Text | None = Field(default=None, description="unique; the command when left out")
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
    backoff: Backoff = Field(default=Backoff(), description="delay between restarts")
    stop: Stop = Field(default=Stop(), description="how it is stopped")
    health: Health | None = Field(default=None, description="its health check; required with a port")
    logging: Raw = Field(default=Raw(), description="how its output is logged")
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
        """The name; the command when no name is given."""
        return self.name or " ".join(self.exec or ())


class Drain(StrictModel):
    """How the batch system is emptied: HTCondor's way, or a command and a test."""

    htcondor: f.Flag = Field(default=False, description="peacefully, through HTCondor's own commands")
    exec: f.Argv | None = Field(default=None, description="the command that begins the drain")
    until: f.Argv | None = Field(default=None, description="the command that exits 0 when all is drained")
    poll: f.PositiveDuration = Field(default=5.0, description="how often `until` is asked")


class Lifetime(StrictModel):
    """Limits of this container's life, after which it drains and ends."""

    max: f.PositiveDuration | None = Field(default=None, description="counted from `after`")
    jitter: f.Duration = Field(default=0.0, description="a random part of this is added to max, drawn once")
    after: Trigger | None = Field(default=None, description="the event from which max counts; startup when left out")
    idle: f.PositiveDuration | None = Field(
        default=None, description="end earlier when no payload has run for this time"
    )
    drain: Drain | None = Field(default=None, description="{htcondor: true} when there is an htcondor section")
    deadline: f.PositiveDuration | None = Field(
        default=None, description="from the start of the drain to the soft stop of the remaining payloads"
    )
    grace: f.Duration = Field(default=300.0, description="from the soft stop to the hard one")


class Node(StrictModel):
    """The HTCondor configuration rendered before condor_master starts."""

    path: f.AbsolutePath = Field(
        default="/etc/condor/config.d/50-autopilot.conf", description="the file that is written"
    )
    condor_host: f.Text | None = Field(default=None, description="the central manager; $CONDOR_HOST when left out")
    name: f.Text | None = Field(default=None, description="the node's name; unique for each life when left out")
    cpus: f.Cpus | None = Field(default=None, description="from the cgroup when left out")
    memory: f.Size | None = Field(default=None, description="from the cgroup when left out")
    token: f.AbsolutePath | None = Field(default=None, description="a file or directory to copy tokens from")
    settings: f.Environment = Field(default_factory=dict, description="further configuration, over the rendered one")


def _expand_node(value: Any) -> Any:
    return {} if value is True else None if value is False else value


class Htcondor(StrictModel):
    """The batch system in this container."""

    job: f.Text | None = Field(
        default=None, description="the job that is condor_master; found by its command when left out"
    )
    poll: f.PositiveDuration = Field(default=15.0, description="payloads, membership and space are looked at so often")
    node: Annotated[Node | None, BeforeValidator(_expand_node)] = Field(
        default=None, description="true, or an object: render the node's configuration"
    )
    min_execute: f.Size = Field(default=1 << 30, description="free bytes in EXECUTE, below which `space` fails")
    min_log: f.Size = Field(default=100 << 20, description="free bytes in LOG, below which `space` fails")


def _expand_htcondor(value: Any) -> Any:
    return {} if value is True else None if value is False else {"job": value} if isinstance(value, str) else value


class Logging(StrictModel):
    """The supervisor's own log."""

    level: f.LogLevel = Field(default="INFO", description="DEBUG, INFO, WARN, ERROR, FATAL or PANIC")
    format: LogFormat = Field(default="default", description="default and auto: text on a terminal, JSON elsewhere")
    output: f.Text = Field(default="stdout", description="stdout, stderr or a file, which SIGUSR1 reopens")


class Control(StrictModel):
    """The control socket."""

    socket: f.SocketPath | None = Field(default=None, description="its path; STATE/autopilot.sock when left out")


class Spec(StrictModel):
    """A job spec of autopilot."""

    jobs: tuple[Job, ...] = Field(default=(), description="the processes of this container")
    lifetime: Lifetime | None = Field(default=None, description="how long this container lives")
    htcondor: Annotated[Htcondor | None, BeforeValidator(_expand_htcondor)] = Field(
        default=None, description="true, the job's name, or an object"
    )
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
    consul: Annotated[Consul | None, BeforeValidator(lambda v: {"address": v} if isinstance(v, str) else v)] = Field(
        default=None, description="host:port, or an object"
    )
    consul_agent: ConsulAgent | None = Field(default=None, description="run Consul's agent in this container")
    templates: tuple[Template, ...] = Field(default=(), description="files rendered from the environment and Consul")
    locks: tuple[Lock, ...] = Field(default=(), description="limits between hosts, through Consul")
    telemetry: Telemetry | None = Field(default=None, description="metrics and status over HTTP")
    watches: tuple[Watch, ...] = Field(default=(), description="services of Consul to watch")

    @property
    def batch_system(self) -> Htcondor | None:
        """The htcondor section. A job that runs condor_master implies one, with the configuration it brings itself: it
        must be watched and drained whether its spec says so or not (ContainerPilot's cannot). `htcondor: false` denies.
        """
        if "htcondor" in self.model_fields_set or len(self._condor_master_jobs) != 1:
            return self.htcondor
        return Htcondor()

    @property
    def _condor_master_jobs(self) -> list[Job]:
        return [job for job in self.jobs if job.exec and job.exec[0].rsplit("/", 1)[-1] == "condor_master"]

    @property
    def batch_jobs(self) -> list[Job]:
        """The jobs that may be meant by the htcondor section: one, unless something is wrong."""
        section = self.batch_system
        if section is None:
            return []
        return (
            self._condor_master_jobs if section.job is None else [job for job in self.jobs if job.label == section.job]
        )

    def compute_stop_limit(self, job: Job) -> float:
        """From a job's first signal to its SIGKILL. condor_master stops its daemons first, and they their payloads."""
        return job.stop.timeout or (30.0 if any(job is batch for batch in self.batch_jobs) else 5.0)
