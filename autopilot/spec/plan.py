"""Define the plan that the supervisor runs, with every default filled in.

A job spec passes through three types: *as written* (text) -> *spec* (`autopilot.spec.spec_model`: pydantic, validates)
-> *plan* (this module: frozen, plain, quick to load). All layers above the spec layer know only the plan. Times are
seconds, sizes bytes, signals numbers. Sequences are tuples, so a plan can be compared and hashed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from autopilot.spec.vocabulary import SECRET_NAMES

OnFailure = Literal["event", "restart", "drain", "shutdown"]
OnGateFailure = Literal["neutral", "failed", "start", "wait"]
OnSigterm = Literal["stop", "drain"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """The command of one process, and the settings to start it with.

    An empty `argv` belongs to a job without a process. `env` overrides `env_file`, and both override the supervisor's
    own environment.
    """

    argv: tuple[str, ...]
    user: str | None = None
    group: str | None = None
    cwd: str | None = None
    umask: int | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    env_file: str | None = None
    limits: Mapping[str, int] = field(default_factory=dict)  # rlimit name without RLIMIT_, lower case; -1 = unlimited
    no_new_privs: bool | None = None  # None: true for a user other than root, false as `containerpilot`
    capabilities: tuple[int, ...] | None = None  # the bounding set, as numbers of capabilities(7); None: unchanged
    secure_bits: int = 0  # as prctl(2) has them


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """Delay before restart k of a streak: min(initial * factor**k, max), give or take the jitter's share."""

    initial: float = 0.5
    factor: float = 2.0
    max: float = 30.0
    jitter: float = 0.1  # share of the delay, 0..1
    reset_after: float = 60.0  # a run of at least so long ends the streak


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """Settings of a job's stop. Jobs of a lower `order` have ended before jobs of a higher order are stopped."""

    signal: int = 15
    timeout: float = 5.0  # then SIGKILL to every remaining process of the job
    order: int = 0
    group: bool = True  # False: signals go to the leader alone
    escalate: tuple[tuple[float, int], ...] = ()  # (seconds after the stop began, signal), before the timeout's SIGKILL


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """Settings of one health check. Each kind registered in `autopilot.spec.extensions` derives its own."""

    kind: ClassVar[str]
    nested_types: ClassVar[Mapping[str, type]] = {}  # fields that hold an object, and its type


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """A health check of a job, and the consequences of its results."""

    probe: Probe
    interval: float
    timeout: float
    ttl: float
    initial_delay: float = 0.0
    failures: int = 1  # consecutive, to become unhealthy
    successes: int = 1  # consecutive, to become healthy again
    on_failure: OnFailure = "event"


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """A check that must pass once before the jobs that it guards start.

    `on_failure` is the consequence when it has not passed within `timeout`. `neutral`: the life ends with exit code 75,
    something outside is missing. `failed`: it ends with 78, the image or its configuration is wrong. `start`: the jobs
    start all the same. `wait`: they wait on.
    """

    name: str
    probe: Probe
    before: tuple[str, ...]  # jobs
    retry: float  # from a refusal to the next attempt
    attempt_timeout: float  # the longest that one attempt may take
    timeout: float  # from the first attempt to the last one; 0: a single attempt
    on_failure: OnGateFailure = "neutral"
    remedy: str = ""  # for people; "": the answer has it


@dataclass(frozen=True, slots=True, kw_only=True)
class Trigger:
    """An event to wait for. `source` is a job, `watch.NAME`, a signal name, or "" for the supervisor itself."""

    source: str
    event: str  # healthy, unhealthy, exitSuccess, exitFailed, stopping, stopped, changed, startup, ...


@dataclass(frozen=True, slots=True, kw_only=True)
class When:
    """Conditions of a job's runs: at most one of `triggers`, `every` and `cron`; without any, once at startup."""

    triggers: tuple[Trigger, ...] = ()  # all of them must have been seen
    each: bool = False  # True: every time, not only the first
    delay: float = 0.0  # between the event and the run (`interval` beside `once`)
    timeout: float | None = None  # give up waiting after so long
    every: float | None = None  # run again and again, so many seconds from start to start
    cron: str | None = None  # run at the times it names: five fields, or six with seconds first
    timezone: str | None = None  # time zone of `cron`; None: this machine's


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """A service that a job with a port offers, as it is registered."""

    port: int
    initial_status: str | None = None
    tags: tuple[str, ...] = ()
    meta: Mapping[str, str] = field(default_factory=dict)  # added to our own keys, which win
    interfaces: tuple[str, ...] = ()
    enable_tag_override: bool = False
    deregister_critical_service_after: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LogFile:
    """Files that a job writes, and whose lines are lines of its output."""

    path: str  # with wildcards
    first_line: str | None = None  # a regular expression: other lines belong to the line before them


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A process that the supervisor runs, or (with an empty command) a service that it only checks."""

    name: str
    command: Command
    when: When = When()
    essential: bool = False  # its end is the container's end, with its exit code
    restarts: int | None = 0  # None: without limit. For an `every` job: how many more runs
    restart_after_success: bool = True  # False: exit 0 is the end of it
    backoff: Backoff = Backoff()
    stop: Stop = Stop()
    timeout: float | None = None  # longest run; then the whole job is killed
    stopping_wait: float | None = None  # longest wait for its pre-stop jobs (ContainerPilot's stopTimeout)
    health: Health | None = None
    service: Service | None = None
    raw: bool = False  # output without prefixes
    log_files: tuple[LogFile, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Drain:
    """Drain of the node: the batch system's own way, or `begin` and then `until` exits 0 (asked every `poll`)."""

    by_batch_system: bool = False
    begin: Command | None = None
    until: Command | None = None
    poll: float = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class OuterJob:
    """The batch job around this supervisor, whose end the life must not reach."""

    command: Command | None = None  # prints the seconds that are left; None: asks the batch system around us
    poll: float = 300.0  # s from one reading of the end to the next
    reserve: float = 0.0  # s that the hard stop must be before the end: the longest ordered stop and a margin


@dataclass(frozen=True, slots=True, kw_only=True)
class Lifetime:
    """Limits of the container's life, and the way it drains at its end."""

    drain: Drain
    max: float | None = None  # counted from `after`; the life is max + one draw of uniform(0, jitter)
    jitter: float = 0.0
    after: Trigger | None = None  # None: from the start
    idle: float | None = None  # end earlier when no payload has run for so long
    payloads: int | None = None  # take so many and no more; the life drains when the last one has begun
    deadline: float | None = None  # from the drain's start to the soft stop (payloads get SIGTERM)
    grace: float = 300.0  # from the soft stop to the hard one
    queue: bool = False  # True: its end waits for a lock
    within: OuterJob | None = None  # the life is over in time before the batch job around it ends


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchSettings:
    """Settings of one batch system. Each one registered in `autopilot.spec.extensions` derives its own."""

    nested_types: ClassVar[Mapping[str, type]] = {}  # fields that hold an object, and its type


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """The batch system in this container."""

    system: str  # its name in `autopilot.spec.extensions`, and the key of its section in the job spec
    job: str  # the job of its main process
    settings: BatchSettings
    # True: no section is written, a job's command implies it. Not compared: a reload may add the section.
    implied: bool = field(default=False, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """Certificate files, and the name that the server's certificate must have; None: the system's defaults."""

    cafile: str | None = None
    capath: str | None = None
    clientcert: str | None = None
    clientkey: str | None = None
    servername: str | None = None
    verify: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Consul:
    """Connection to the Consul agent; Consul's own environment variables may fill in a None."""

    address: str  # host:port; unix:///PATH; "": $CONSUL_HTTP_ADDR or the default of Consul's command line
    scheme: Literal["http", "https"] | None = None
    acl_token: str | None = None
    token_file: str | None = None
    tls: Tls | None = None
    own_service: bool = True  # register the service of the supervisor itself


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsulAgent:
    """Consul's agent as a job; its command is completed once the state directory and the host are known."""

    job: str
    join: tuple[str, ...]
    program: str = "consul"
    datacenter: str = "dc1"
    node: str | None = None  # None: wn-HOSTNAME
    bind: str | None = None  # None: Consul finds it
    meta: Mapping[str, str] = field(default_factory=dict)
    config: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """Instances of one service in Consul, or one key of its store."""

    name: str
    interval: float  # between two requests to a Consul that does not block
    tag: str | None = None
    dc: str | None = None
    key: str | None = None  # its path; None: the service `name`


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """A file rendered from the environment and Consul, and the actions after a change.

    The jobs that it reloads or restarts start when it has been rendered.
    """

    name: str = ""  # `template.NAME` is its source of events
    source: str
    destination: str
    mode: int = 0o644
    user: str | None = None
    group: str | None = None
    reload: str | None = None  # a job
    restart: str | None = None  # a job
    exec: Command | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Lock:
    """A permit that at most `limit` containers hold at the same time."""

    name: str
    limit: int
    holder: str  # a job, "" for the lifetime's end
    ttl: float  # a dead holder loses it after at most twice this time
    fail_open: bool  # go on without Consul
    stop_on_loss: bool = False  # a job whose permit is lost stops, and starts again with a new one


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """A metric that jobs set through the control socket; `name` is namespace_subsystem_name."""

    name: str
    help: str
    type: Literal["counter", "gauge", "histogram", "summary"]
    buckets: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Telemetry:
    """The port with metrics and status."""

    port: int
    interfaces: tuple[str, ...] = ()
    loopback: bool = False  # listen on the loopback addresses too
    tags: tuple[str, ...] = ()
    metrics: tuple[Metric, ...] = ()
    check_output: bool = False  # shows the output of failed health checks
    hosts: tuple[str, ...] = ()  # names of this port, beside addresses and local names


@dataclass(frozen=True, slots=True, kw_only=True)
class LogDestination:
    """Another host that gets the lines of the log, as syslog messages or by OTLP/HTTP."""

    url: str  # as written; names the destination in messages
    protocol: Literal["tcp", "tls", "udp", "otlp+http", "otlp+https"]
    host: str
    port: int
    path: str = ""  # of the URL, for OTLP
    facility: str = "daemon"
    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None
    headers: tuple[tuple[str, str], ...] = ()  # names and values, for OTLP
    buffer_bytes: int = 1 << 20  # lines that wait while it is away
    spill_bytes: int | None = None  # lines that wait on the disk when the buffer is full, and for the next life


@dataclass(frozen=True, slots=True, kw_only=True)
class Redaction:
    """Secrets that are removed from lines that leave this host."""

    names: tuple[str, ...] = SECRET_NAMES  # of environment variables, with wildcards
    patterns: tuple[str, ...] = ()  # regular expressions


@dataclass(frozen=True, slots=True, kw_only=True)
class Logging:
    """Level, format and destinations of the supervisor's log."""

    level: str = "INFO"
    format: Literal["default", "auto", "text", "json"] = "default"  # see autopilot.adapters.logs.log_formats
    output: str = "stdout"  # stdout, stderr or a file
    forward: tuple[LogDestination, ...] = ()
    redact: Redaction = Redaction()


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """All settings of one supervisor."""

    jobs: tuple[Job, ...] = ()
    checks: tuple[Gate, ...] = ()  # gates; a job spec calls them checks
    lifetime: Lifetime | None = None
    batch: Batch | None = None
    consul: Consul | None = None
    consul_agent: ConsulAgent | None = None
    watches: tuple[Watch, ...] = ()
    templates: tuple[Template, ...] = ()
    locks: tuple[Lock, ...] = ()
    telemetry: Telemetry | None = None
    stop_timeout: float = 5.0  # from the start of the stop to the kill of all remaining processes
    on_sigterm: OnSigterm = "stop"
    logging: Logging = Logging()
    state: str | None = None  # None: $AUTOPILOT_STATE, else the default of `autopilot.app.paths`
    socket: str | None = None  # None: STATE/autopilot.sock
    healthy_for: float = 120.0  # boot success: healthy for so long makes the life `good`
