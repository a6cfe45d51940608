"""The sections that ContainerPilot has around a service registry: validated in full, so that its files load."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PlainValidator, WithJsonSchema

from autopilot.spec import fields as f
from autopilot.spec.addresses import address
from autopilot.spec.model_base import Strict

Address = Annotated[str, PlainValidator(address), WithJsonSchema({"type": "string"})]
Scheme = Annotated[Literal["http", "https"], PlainValidator(f.one_of("http", "https"))]
MetricType = Annotated[
    Literal["counter", "gauge", "histogram", "summary"],
    PlainValidator(f.one_of("counter", "gauge", "histogram", "summary")),
]


class Tls(Strict):
    """TLS to Consul."""

    cafile: f.Text | None = Field(default=None, description="file of the authority's certificate")
    capath: f.Text | None = Field(default=None, description="directory of authorities' certificates")
    clientcert: f.Text | None = Field(default=None, description="file of our certificate")
    clientkey: f.Text | None = Field(default=None, description="file of our key")
    servername: f.Text | None = Field(default=None, description="the name the server's certificate must carry")
    verify: f.Flag = Field(default=True, description="check the server's certificate")


class Consul(Strict):
    """The Consul agent."""

    address: Address = Field(description="host:port")
    scheme: Scheme | None = Field(default=None, description="http or https")
    token: f.Text | None = Field(default=None, description="ACL token; better in $CONSUL_HTTP_TOKEN")
    tls: Tls | None = Field(default=None, description="certificates")


class ServiceConsul(Strict):
    """Consul's own settings for one service."""

    enable_tag_override: f.Flag = Field(default=False, description="others may change the tags")
    deregister_critical_service_after: f.PositiveDuration | None = Field(
        default=None, description="Consul removes it when critical for so long"
    )


class Watch(Strict):
    """One service to watch."""

    name: f.Text = Field(description="the service")
    interval: f.PositiveDuration = Field(description="how often to look, for registries that cannot notify")
    tag: f.Text | None = Field(default=None, description="only instances with this tag")
    dc: f.Text | None = Field(default=None, description="the data centre")


class Metric(Strict):
    """One metric that jobs may set through the control socket."""

    namespace: f.Text | None = Field(default=None, description="first part of its name")
    subsystem: f.Text | None = Field(default=None, description="second part of its name")
    name: f.Text = Field(description="last part of its name")
    help: f.Text = Field(description="one sentence")
    type: MetricType = Field(description="counter, gauge, histogram or summary")
    buckets: f.Numbers | None = Field(default=None, description="upper bounds of a histogram")


class Telemetry(Strict):
    """Metrics and status over HTTP."""

    port: f.Port = Field(default=9090, description="where to listen")
    interfaces: f.Interfaces = Field(default=("eth0:inet",), description="where to take the address from")
    tags: f.Texts = Field(default=(), description="tags of the service `containerpilot`")
    metrics: tuple[Metric, ...] = Field(default=(), description="metrics of the jobs")
