"""Compile a valid `Spec` to its `Plan`: fill in every default, expand every shorthand."""

from __future__ import annotations

from collections.abc import Iterator
from signal import SIGQUIT, SIGTERM
from typing import Any

from autopilot.spec import plan as p
from autopilot.spec import registry_compiler as registry
from autopilot.spec import spec_model as m
from autopilot.spec.findings import Finding
from autopilot.spec.job_queries import list_awaited_events
from autopilot.spec.quantities import format_seconds
from autopilot.spec.stop_budget import compute_worst_stop_time
from autopilot.spec.vocabulary import LOCK_BEFORE_LIFETIME, SIGNAL_SOURCES, SUPERVISOR_SOURCES

_MIN_STOP_TIMEOUT_S = 5.0  # ContainerPilot's stopTimeout


def compile_plan(spec: m.Spec) -> p.Plan:
    """Return the plan of a spec that has passed all rules."""
    batch = spec.batch_jobs[0].label if spec.batch_jobs else None
    jobs = tuple(_compile_job(spec, job, is_batch_job=job.label == batch) for job in spec.jobs)
    consul, agent = registry.compile_consul(spec), registry.compile_consul_agent(spec)
    if agent is not None:
        jobs = (*jobs, registry.compile_agent_job(agent, other_jobs=jobs))
    return p.Plan(
        jobs=jobs,
        lifetime=_compile_lifetime(spec),
        htcondor=_compile_htcondor(spec.batch_system, batch)
        if spec.batch_system is not None and batch is not None
        else None,
        consul=consul,
        consul_agent=agent,
        watches=registry.compile_watches(spec),
        templates=registry.compile_templates(spec),
        locks=registry.compile_locks(spec),
        telemetry=registry.compile_telemetry(spec),
        stop_timeout=spec.stop_timeout
        if spec.stop_timeout is not None
        else max(_MIN_STOP_TIMEOUT_S, compute_worst_stop_time(jobs)),
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


def _compile_job(spec: m.Spec, job: m.Job, *, is_batch_job: bool) -> p.Job:
    command = _compile_command(job, job.exec or ())
    return p.Job(
        name=job.label,
        command=command,
        when=_compile_when(job),
        essential=job.essential,
        restarts=_compile_restarts(job),
        restart_after_success=job.restarts != "on-failure",
        backoff=p.Backoff(**job.backoff.model_dump()),
        stop=_compile_stop(job, spec.compute_stop_limit(job), is_batch_job=is_batch_job),
        timeout=job.timeout if job.exec is not None else None,
        stopping_wait=job.stop_timeout,
        health=_compile_health(job, job.health) if job.health else None,
        service=_compile_service(job) if job.port is not None else None,
        raw=job.logging.raw,
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
    )


def _compile_when(job: m.Job) -> p.When:
    when = job.when
    if when is None:
        return p.When()
    triggers = tuple(_compile_trigger(source, event) for source, event, _ in list_awaited_events(job))
    if not triggers:
        return p.When(every=when.interval, cron=when.cron, timezone=when.timezone)
    each = when.each is not None or (when.once is None and when.all is None)  # a signal without `once` counts each time
    return p.When(triggers=triggers, each=each, delay=when.interval or 0.0, timeout=when.timeout)


def _compile_trigger(source: str, event: str) -> p.Trigger:
    if source in SIGNAL_SOURCES:
        return p.Trigger(source=source, event="signal")
    return p.Trigger(source="" if source in SUPERVISOR_SOURCES else source, event=event)


def _compile_restarts(job: m.Job) -> int | None:
    if job.restarts is None:
        periodic = job.when is not None and not list_awaited_events(job)
        return None if periodic else 0
    words = {"unlimited": None, "on-failure": None, "never": 0}
    return words[job.restarts] if isinstance(job.restarts, str) else job.restarts


def _compile_stop(job: m.Job, timeout: float, *, is_batch_job: bool) -> p.Stop:
    """condor_master gets its signal alone: it stops its daemons itself, in the right order. Before the end comes a
    SIGQUIT, its fast shutdown: a master that dies by SIGKILL leaves its payloads in limbo for 40 minutes."""
    escalate = tuple((step.after, step.signal) for step in job.stop.escalate or ())
    if is_batch_job and job.stop.escalate is None:
        escalate = ((timeout * 2 / 3, int(SIGQUIT)),)
    return p.Stop(
        signal=int(SIGTERM) if job.stop.signal is None else job.stop.signal,
        timeout=timeout,
        escalate=escalate,
        order=job.stop.order,
        group=not is_batch_job if job.stop.group is None else job.stop.group,
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
    if health.http is not None:
        return p.HttpProbe(url=health.http.url, status=health.http.status, headers=health.http.header)
    if health.tcp is not None:
        return p.TcpProbe(host=health.tcp[0], port=health.tcp[1])
    if health.htcondor is not None:
        return p.HtcondorProbe(aspect=health.htcondor)
    return p.ExecProbe(command=_compile_command(job, health.exec or ()), raw=health.logging.raw)


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


def _compile_lifetime(spec: m.Spec) -> p.Lifetime | None:
    """With an htcondor section there is always one: `autopilot drain` must know how, even where nothing expires."""
    life = spec.lifetime or (m.Lifetime() if spec.batch_system is not None else None)
    if life is None:
        return None
    return p.Lifetime(
        drain=_compile_drain(life.drain or m.Drain(htcondor=True)),
        max=life.max,
        jitter=life.jitter,
        after=_compile_trigger(life.after.source or "", life.after.once) if life.after else None,
        idle=life.idle,
        deadline=life.deadline,
        grace=life.grace,
        queue=any(lock.before == LOCK_BEFORE_LIFETIME for lock in spec.locks),
    )


def _compile_drain(drain: m.Drain) -> p.Drain:
    begin, until = (p.Command(argv=argv) if argv else None for argv in (drain.exec, drain.until))
    return p.Drain(htcondor=drain.htcondor, begin=begin, until=until, poll=drain.poll)


def _compile_htcondor(section: m.Htcondor, job: str) -> p.Htcondor:
    node: dict[str, Any] | None = section.node.model_dump() if section.node else None
    return p.Htcondor(
        job=job,
        poll=section.poll,
        node=p.HtcondorNode(**node) if node is not None else None,
        min_execute=section.min_execute,
        min_log=section.min_log,
    )


def _compile_logging(logging: m.Logging) -> p.Logging:
    return p.Logging(level=logging.level, format=logging.format, output=logging.output)
