"""Compile a valid `Spec` to its `Plan`: fill in every default, expand every shorthand."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from signal import SIGTERM

from autopilot.amounts import format_seconds
from autopilot.spec import plan as p
from autopilot.spec import registry_compiler as registry
from autopilot.spec import spec_model as m
from autopilot.spec.batch_section import BatchSection
from autopilot.spec.extensions import IMPLIED_CHECK_KIND, load_check_kind
from autopilot.spec.findings import Finding
from autopilot.spec.gate_compiler import compile_gates
from autopilot.spec.job_queries import list_awaited_events, names_supervisor
from autopilot.spec.stop_budget import compute_worst_stop_time
from autopilot.spec.vocabulary import LOCK_BEFORE_LIFETIME, SIGNAL_SOURCES

_MIN_STOP_TIMEOUT_S = 5.0  # ContainerPilot's stopTimeout


def compile_plan(spec: m.Spec) -> p.Plan:
    """Return the plan of a spec that has passed all rules."""
    batch = _compile_batch(spec)
    jobs = tuple(_compile_job(spec, job, batch) for job in spec.jobs)
    gates = compile_gates(spec, _compile_command)
    consul, agent = registry.compile_consul(spec), registry.compile_consul_agent(spec)
    if agent is not None:
        jobs = (*jobs, registry.compile_agent_job(agent, other_jobs=jobs))
    stop_timeout = max(_MIN_STOP_TIMEOUT_S, compute_worst_stop_time(jobs))
    if spec.stop_timeout is not None:
        stop_timeout = spec.stop_timeout
    return p.Plan(
        jobs=jobs,
        checks=gates,
        lifetime=_compile_lifetime(spec, stop_timeout),
        batch=batch,
        consul=consul,
        consul_agent=agent,
        watches=registry.compile_watches(spec),
        templates=registry.compile_templates(spec),
        locks=registry.compile_locks(spec),
        telemetry=registry.compile_telemetry(spec),
        stop_timeout=stop_timeout,
        on_sigterm=spec.on_sigterm,
        logging=_compile_logging(spec.logging or m.Logging()),
        state=spec.state,
        socket=spec.control.socket if spec.control else None,
        healthy_for=spec.healthy_for,
    )


def check_plan(plan: p.Plan) -> Iterator[Finding]:
    """Yield the warnings that depend on the plan's defaults."""
    worst = compute_worst_stop_time(plan.jobs)
    if plan.stop_timeout < worst:
        message = (
            f"is shorter than the ordered stop may take ({format_seconds(worst)}): the last jobs would be killed early"
        )
        yield Finding(("stop_timeout",), message, warning=True)


def _compile_job(spec: m.Spec, job: m.Job, batch: p.Batch | None) -> p.Job:
    section = spec.batch.section if spec.batch and batch and job.label == batch.job else None
    stop = _compile_stop(job, spec.compute_stop_limit(job), section)
    if (
        section is not None and job.user is not None and job.no_new_privs is None
    ):  # payloads may need set-user-id programs
        job = job.model_copy(update={"no_new_privs": False})
    command = _compile_command(job, job.exec or ())
    return p.Job(
        name=job.label,
        command=command,
        when=_compile_when(spec, job),
        essential=job.essential,
        restarts=_compile_restarts(job),
        restart_after_success=job.restarts != "on-failure",
        backoff=p.Backoff(**job.backoff.model_dump()),
        stop=stop,
        timeout=job.timeout if job.exec is not None else None,
        stopping_wait=job.stop_timeout,
        health=_compile_health(job, job.health) if job.health else None,
        service=_compile_service(job) if job.port is not None else None,
        raw=job.logging.raw,
        log_files=tuple(p.LogFile(path=file.path, first_line=file.first_line) for file in job.logging.files),
    )


def _compile_command(job: m.Job, argv: tuple[str, ...]) -> p.Command:
    """Return a command that runs as the job does: same user, directory and environment, also for its health check."""
    return p.Command(
        argv=argv,
        user=job.user,
        group=job.group,
        cwd=job.cwd,
        umask=job.umask,
        env=job.env,
        env_file=job.env_file,
        limits=job.limits,
        no_new_privs=job.no_new_privs,
        capabilities=job.capabilities,
        secure_bits=job.secure_bits,
    )


def _compile_when(spec: m.Spec, job: m.Job) -> p.When:
    when = job.when
    if when is None:
        return p.When()
    triggers = tuple(_compile_trigger(spec, source, event) for source, event, _ in list_awaited_events(job))
    if not triggers:
        return p.When(every=when.interval, cron=when.cron, timezone=when.timezone)
    each = when.each is not None or (when.once is None and when.all is None)  # a signal without `once` counts each time
    return p.When(triggers=triggers, each=each, delay=when.interval or 0.0, timeout=when.timeout)


def _compile_trigger(spec: m.Spec, source: str, event: str) -> p.Trigger:
    if source in SIGNAL_SOURCES:
        return p.Trigger(source=source, event="signal")
    return p.Trigger(source="" if names_supervisor(spec, source) else source, event=event)


def _compile_restarts(job: m.Job) -> int | None:
    if job.restarts is None:
        periodic = job.when is not None and not list_awaited_events(job)
        return None if periodic else 0
    words = {"unlimited": None, "on-failure": None, "never": 0}
    return words[job.restarts] if isinstance(job.restarts, str) else job.restarts


def _compile_stop(job: m.Job, timeout: float, section: BatchSection | None) -> p.Stop:
    """Return how a job is stopped.

    A batch system's main process has its own defaults: it stops its daemons itself, in the right order, so only it gets
    the signal.

    Args:
        job: The job.
        timeout: Seconds from its first signal to its SIGKILL.
        section: The batch system's, when the job is its main process.
    """
    escalate = tuple((step.after, step.signal) for step in job.stop.escalate or ())
    if section is not None and job.stop.escalate is None:
        escalate = section.build_stop_escalation(timeout)
    group = True if section is None else section.stop_group
    return p.Stop(
        signal=int(SIGTERM) if job.stop.signal is None else job.stop.signal,
        timeout=timeout,
        escalate=escalate,
        order=job.stop.order,
        group=group if job.stop.group is None else job.stop.group,
    )


def _compile_health(job: m.Job, health: m.Health) -> p.Health:
    timeout = health.timeout if health.timeout is not None else health.interval
    return p.Health(
        probe=_compile_probe(job, health),
        interval=health.interval,
        timeout=timeout,
        ttl=health.ttl if health.ttl is not None else health.interval + timeout,
        initial_delay=health.initial_delay,
        failures=health.failures or (1 if health.on_failure == "event" else 3),
        successes=health.successes,
        on_failure=health.on_failure,
    )


def _compile_probe(job: m.Job, health: m.Health) -> p.Probe:
    kind = next(iter(health.given_kinds), IMPLIED_CHECK_KIND)
    return load_check_kind(kind).compile_probe(
        getattr(health, kind, None), build_command=partial(_compile_command, job), raw=health.logging.raw
    )


def _compile_service(job: m.Job) -> p.Service:
    after = job.consul.deregister_critical_service_after
    return p.Service(
        port=job.port or 0,
        initial_status=job.initial_status,
        tags=job.tags,
        meta=job.meta,
        interfaces=job.interfaces,
        enable_tag_override=job.consul.enable_tag_override,
        deregister_critical_service_after=None if after is None else f"{after:.15g}s",
    )


def _compile_lifetime(spec: m.Spec, stop_timeout: float) -> p.Lifetime | None:
    """With a batch system there is always one: `autopilot drain` must know how, even where nothing expires."""
    life = spec.lifetime or (m.Lifetime() if spec.batch is not None else None)
    if life is None:
        return None
    return p.Lifetime(
        drain=_compile_drain(life.drain) if life.drain else p.Drain(by_batch_system=True),
        max=life.max,
        jitter=life.jitter,
        after=_compile_trigger(spec, life.after.source or "", life.after.once) if life.after else None,
        idle=life.idle,
        payloads=life.payloads,
        deadline=life.deadline,
        grace=life.grace,
        queue=any(lock.before == LOCK_BEFORE_LIFETIME for lock in spec.locks),
        within=_compile_outer_job(life.within, stop_timeout) if life.within else None,
    )


def _compile_outer_job(within: m.Within, stop_timeout: float) -> p.OuterJob:
    command = p.Command(argv=within.exec) if within.exec else None
    return p.OuterJob(command=command, poll=within.poll, reserve=within.margin + stop_timeout)


def _compile_drain(drain: m.Drain) -> p.Drain:
    begin, until = (p.Command(argv=argv) if argv else None for argv in (drain.exec, drain.until))
    return p.Drain(by_batch_system=bool(drain.given_systems), begin=begin, until=until, poll=drain.poll)


def _compile_batch(spec: m.Spec) -> p.Batch | None:
    if spec.batch is None or not spec.batch_jobs:
        return None
    name, section = spec.batch
    implied = name not in spec.given_batch_systems
    settings = section.compile_settings()
    choice = getattr(spec.lifetime.drain, name) if spec.lifetime and spec.lifetime.drain else None
    if choice in section.drain_choices:
        settings = section.apply_drain_choice(settings, choice)
    return p.Batch(system=name, job=spec.batch_jobs[0].label, settings=settings, implied=implied)


def _compile_logging(logging: m.Logging) -> p.Logging:
    return p.Logging(
        level=logging.level,
        format=logging.format,
        output=logging.output,
        forward=tuple(_compile_destination(destination) for destination in logging.forward),
        redact=p.Redaction(names=logging.redact.names, patterns=logging.redact.patterns),
    )


def _compile_destination(destination: m.LogForward) -> p.LogDestination:
    protocol, host, port, path = destination.to
    return p.LogDestination(
        url=destination.url,
        protocol=protocol,
        host=host,
        port=port,
        path=path,
        facility=destination.facility,
        ca_file=destination.ca_file,
        cert_file=destination.cert_file,
        key_file=destination.key_file,
        headers=tuple(destination.headers.items()),
        buffer_bytes=destination.buffer,
        spill_bytes=destination.spill,
    )
