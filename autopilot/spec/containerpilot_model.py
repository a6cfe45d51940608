"""Model the sections that ContainerPilot has around a service registry, in full, so that its files load."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PlainValidator, WithJsonSchema

from autopilot.spec import fields as f
from autopilot.spec.address_rules import parse_consul_address
from autopilot.spec.model_base import StrictModel

ConsulAddress = Annotated[str, PlainValidator(parse_consul_address), WithJsonSchema({"type": "string"})]
OnError = Annotated[Literal["open", "closed"], PlainValidator(f.build_choice_validator("open", "closed"))]
OnLost = Annotated[Literal["continue", "stop"], PlainValidator(f.build_choice_validator("continue", "stop"))]
Scheme = Annotated[Literal["http", "https"], PlainValidator(f.build_choice_validator("http", "https"))]
MetricType = Annotated[
    Literal["counter", "gauge", "histogram", "summary"],
    PlainValidator(f.build_choice_validator("counter", "gauge", "histogram", "summary")),
]


class Tls(StrictModel):
    """Certificates for TLS to Consul."""

    cafile: f.OptionalText = Field(default=None, description="file with the certificate of the authority")
    capath: f.OptionalText = Field(default=None, description="directory with certificates of authorities")
    clientcert: f.OptionalText = Field(default=None, description="file with the client's certificate")
    clientkey: f.OptionalText = Field(default=None, description="file with the client's key")
    servername: f.OptionalText = Field(default=None, description="the name that the server's certificate must have")
    verify: f.Flag = Field(default=True, description="check the server's certificate")


class Consul(StrictModel):
    """The Consul agent."""

    address: ConsulAddress | None = Field(
        default=None, description="host:port or unix:///PATH; $CONSUL_HTTP_ADDR or 127.0.0.1:8500 when left out"
    )
    scheme: Scheme | None = Field(default=None, description="http or https")
    token: f.OptionalText = Field(default=None, description="ACL token; better in a file or in $CONSUL_HTTP_TOKEN")
    token_file: f.AbsolutePath | None = Field(default=None, description="a file that holds the ACL token")
    tls: Tls | None = Field(default=None, description="certificates")
    own_service: f.Flag = Field(
        default=True, description="show the supervisor itself in Consul, where `autopilot fleet` finds it"
    )


class ConsulAgent(StrictModel):
    """Consul's agent inside this container, as a job with a built-in recipe."""

    join: f.TextList = Field(description="addresses of servers, or of other agents, to join")
    exec: f.Text = Field(default="consul", description="the program")
    datacenter: f.Text = Field(default="dc1", description="the data centre of the agent")
    node: f.Text | None = Field(default=None, description="the node's name; wn-HOSTNAME when left out")
    bind: f.Text | None = Field(default=None, description="the address at which other agents reach it")
    meta: f.Environment = Field(default_factory=dict, description="further metadata of the node")
    config: f.AbsolutePath | None = Field(default=None, description="a file with further configuration of the agent")


class OnChange(StrictModel):
    """Actions after a template's file has changed."""

    reload: f.Text | None = Field(default=None, description="a job that gets SIGHUP")
    restart: f.Text | None = Field(default=None, description="a job that is restarted")
    exec: f.Argv | None = Field(default=None, description="a command that is run")


class Template(StrictModel):
    """A file rendered by Jinja2 from the environment, Consul's KV store and its services."""

    name: f.Name | None = Field(default=None, description="the name in `template.NAME`; the name of the destination")
    source: f.AbsolutePath = Field(description="the template")
    destination: f.AbsolutePath = Field(description="the file that is written")
    mode: f.Umask = Field(default=0o644, description="its permissions, an octal string")
    user: f.User | None = Field(default=None, description="its owner; the supervisor's own when left out")
    group: f.User | None = Field(default=None, description="its group; the owner's when left out")
    on_change: OnChange = Field(default=OnChange(), description="reload, restart or exec")

    @property
    def label(self) -> str:
        """Name of the template, by default that of its destination."""
        return self.name or self.destination.rpartition("/")[2]


class Lock(StrictModel):
    """A permit that only `limit` containers of a site may hold, for a lifetime's end or for each run of a job."""

    name: f.Name = Field(description="the same name in all containers that share the permit")
    limit: f.Count = Field(default=1, description="how many containers may hold it at the same time")
    before: f.Text = Field(description='"lifetime" (the end of the container), or a job (each of its runs)')
    ttl: f.PositiveDuration = Field(
        default=15.0, description="a dead holder loses the permit after at most twice this time"
    )
    on_error: OnError = Field(
        default="closed", description="when Consul is unreachable: open continues after 10 s, closed waits"
    )
    on_lost: OnLost = Field(
        default="continue", description="when a job's lock is lost: it runs on, or stops until it has the lock again"
    )


class ServiceConsul(StrictModel):
    """Consul's own settings for one service."""

    enable_tag_override: f.Flag = Field(default=False, description="other Consul clients may change the tags")
    deregister_critical_service_after: f.PositiveDuration | None = Field(
        default=None, description="Consul removes the service after this time in the state critical"
    )


class Watch(StrictModel):
    """A service or a key of Consul to watch."""

    name: f.Name = Field(description="the service; with a key: the name in `watch.NAME`")
    key: f.Text | None = Field(default=None, description="a key of Consul's KV store to watch instead of a service")
    interval: f.PositiveDuration = Field(
        description="the period of requests to a Consul that does not block; one that does tells of a change at once"
    )
    tag: f.OptionalText = Field(default=None, description="only instances with this tag")
    dc: f.OptionalText = Field(default=None, description="the data centre")


class Metric(StrictModel):
    """A metric that jobs may set through the control socket."""

    namespace: f.OptionalText = Field(default=None, description="first part of its name")
    subsystem: f.OptionalText = Field(default=None, description="second part of its name")
    name: f.Name = Field(description="last part of its name")
    help: f.Text | None = Field(default=None, description="one sentence; its name when left out")
    type: MetricType = Field(description="counter, gauge, histogram or summary")
    buckets: f.NumberList | None = Field(default=None, description="upper bounds of a histogram")

    @property
    def full_name(self) -> str:
        """The name on the telemetry port: namespace, subsystem and name joined by _."""
        return "_".join(part for part in (self.namespace, self.subsystem, self.name) if part)


class Telemetry(StrictModel):
    """Metrics and status over HTTP."""

    port: f.Port = Field(default=9090, description="where to listen")
    interfaces: f.Interfaces = Field(
        default=("eth0:inet", "inet"),
        description="where to listen: the first that matches; left out: on the loopback addresses too",
    )
    tags: f.TextList = Field(default=(), description="tags of the service `containerpilot`")
    metrics: tuple[Metric, ...] = Field(default=(), description="metrics of the jobs")
    check_output: bool = Field(default=False, description="show the output of failed health checks on the port")
    hosts: f.TextList = Field(default=(), description="further names by which clients may call the port")
