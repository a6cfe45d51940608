"""Compile the parts of a plan around the service registry: Consul, its agent, watches, templates, locks, telemetry."""

from __future__ import annotations

from signal import SIGINT

from autopilot.spec import plan as p
from autopilot.spec import spec_model as m
from autopilot.spec.consul_address import split_consul_address
from autopilot.spec.containerpilot_model import Metric
from autopilot.spec.vocabulary import AGENT_JOB_NAME, LOCK_BEFORE_LIFETIME

LOCAL_AGENT_ADDRESS = "127.0.0.1:8500"


def compile_consul(spec: m.Spec) -> p.Consul | None:
    """Return the connection to Consul: of the section consul, else to the agent of the section consul_agent."""
    section = spec.consul
    if section is None:
        return p.Consul(address=LOCAL_AGENT_ADDRESS, scheme="http") if spec.consul_agent is not None else None
    scheme, address = split_consul_address(section.address) if section.address is not None else (None, "")
    if spec.consul_agent is not None and not address:
        address = LOCAL_AGENT_ADDRESS
    return p.Consul(
        address=address,
        scheme=section.scheme or scheme,
        acl_token=section.token,
        token_file=section.token_file,
        tls=p.Tls(**section.tls.model_dump()) if section.tls is not None else None,
        own_service=section.own_service,
    )


def compile_consul_agent(spec: m.Spec) -> p.ConsulAgent | None:
    """Return the section consul_agent, with the job that it adds."""
    section = spec.consul_agent
    if section is None:
        return None
    return p.ConsulAgent(
        job=AGENT_JOB_NAME,
        join=section.join,
        program=section.exec,
        datacenter=section.datacenter,
        node=section.node,
        bind=section.bind,
        meta=section.meta,
        config=section.config,
    )


def compile_agent_job(agent: p.ConsulAgent, *, other_jobs: tuple[p.Job, ...]) -> p.Job:
    """Return the job that runs the agent, which stops after all other jobs.

    Two SIGINTs make Consul leave its cluster quickly: after one it takes more than 4 s, after a second one 1 s later
    1.5 s in all (measured with Consul 1.8.7).
    """
    return p.Job(
        name=agent.job,
        command=p.Command(argv=(agent.program, "agent")),
        restarts=None,
        stop=p.Stop(
            signal=int(SIGINT),
            escalate=((1.0, int(SIGINT)),),
            timeout=5.0,
            order=max((job.stop.order for job in other_jobs), default=0) + 1,
            group=False,
        ),
        stopping_wait=1.0,  # until our services are deregistered, which takes Consul milliseconds
    )


def compile_watches(spec: m.Spec) -> tuple[p.Watch, ...]:
    """Return the section watches."""
    return tuple(p.Watch(name=w.name, interval=w.interval, tag=w.tag, dc=w.dc, key=w.key) for w in spec.watches)


def compile_templates(spec: m.Spec) -> tuple[p.Template, ...]:
    """Return the section templates."""
    return tuple(
        p.Template(
            source=t.source,
            destination=t.destination,
            mode=t.mode,
            user=t.user,
            group=t.group,
            reload=t.on_change.reload,
            restart=t.on_change.restart,
            exec=p.Command(argv=t.on_change.exec) if t.on_change.exec else None,
        )
        for t in spec.templates
    )


def compile_locks(spec: m.Spec) -> tuple[p.Lock, ...]:
    """Return the section locks."""
    return tuple(
        p.Lock(
            name=lock.name,
            limit=lock.limit,
            holder="" if lock.before == LOCK_BEFORE_LIFETIME else lock.before,
            ttl=lock.ttl,
            fail_open=lock.on_error == "open",
        )
        for lock in spec.locks
    )


def compile_telemetry(spec: m.Spec) -> p.Telemetry | None:
    """Return the section telemetry."""
    section = spec.telemetry
    if section is None:
        return None
    return p.Telemetry(
        port=section.port,
        interfaces=section.interfaces,
        loopback="interfaces" not in section.model_fields_set,
        tags=section.tags,
        metrics=tuple(_compile_metric(metric) for metric in section.metrics),
    )


def _compile_metric(metric: Metric) -> p.Metric:
    return p.Metric(
        name=metric.full_name, help=metric.help or metric.full_name, type=metric.type, buckets=metric.buckets or ()
    )
