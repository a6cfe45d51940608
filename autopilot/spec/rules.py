"""Check the rules between keys: every function yields findings with path and remedy.

The single values are already valid here. `related_paths` names further paths that a conclusion rests on; when one of
them was removed as broken, the finding is dropped instead of reported as a second error for the same mistake.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from autopilot.amounts import format_seconds
from autopilot.spec.extensions import BATCH_SYSTEMS, CHECK_KINDS, join_names, load_check_kind
from autopilot.spec.findings import Finding
from autopilot.spec.gate_rules import check_gates
from autopilot.spec.key_paths import KeyPath
from autopilot.spec.metric_names import find_clashes
from autopilot.spec.os_names import format_suggestion
from autopilot.spec.otlp_library import OTLP_PROTOCOLS
from autopilot.spec.registry_rules import check_registry
from autopilot.spec.spec_model import BATCH_SECTIONS, Drain, Health, Job, LogForward, Spec, When
from autopilot.spec.trigger_rules import check_triggers
from autopilot.spec.vocabulary import SIGNAL_SOURCES

MIN_SPILL_BYTES = 1 << 20
_SERVICE_NAME = re.compile(r"[a-z][a-zA-Z0-9\-]+")
_BATCH_NAMES = join_names(BATCH_SYSTEMS, "or")  # "htcondor"
_PAYLOAD_SYSTEMS = join_names((name for name, section in BATCH_SECTIONS.items() if section.runs_payloads), "or")
_BATCH_KEYS: tuple[KeyPath, ...] = tuple((name,) for name in BATCH_SYSTEMS)
_WHEN_FORMS = "{source, once or each}, {all: [...]}, {interval} or {cron}"


def check_rules(spec: Spec) -> Iterator[Finding]:
    """Yield the findings of all rules."""
    yield from _check_jobs(spec)
    yield from check_triggers(spec)
    yield from check_gates(spec)
    yield from _check_batch_system(spec)
    yield from _check_lifetime(spec)
    yield from _check_drains(spec)
    yield from _check_metrics(spec)
    yield from _check_log_destinations(spec)
    yield from check_registry(spec)


def _check_log_destinations(spec: Spec) -> Iterator[Finding]:
    spilling: dict[str, int] = {}
    for index, destination in enumerate(spec.logging.forward if spec.logging is not None else ()):
        path: KeyPath = ("logging", "forward", index)
        protocol = destination.to.protocol
        related: tuple[KeyPath, ...] = ((*path, "to"),)
        given = [key for key in ("ca_file", "cert_file", "key_file") if getattr(destination, key) is not None]
        if protocol not in ("tls", "otlp+https") and given:
            with_tls = "otlp+https" if protocol == "otlp+http" else "tls"
            message = f"cannot be used without TLS, got {destination.url}; write {with_tls}://, or remove it"
            yield Finding((*path, given[0]), message, related_paths=related)
        elif (destination.cert_file is None) != (destination.key_file is None):
            alone, missing = ("cert_file", "key_file") if destination.key_file is None else ("key_file", "cert_file")
            yield Finding((*path, alone), f"cannot be used alone; write {missing} too")
        if destination.headers and protocol not in OTLP_PROTOCOLS:
            message = f"cannot be used with syslog, got {destination.url}; write otlp+https://, or remove it"
            yield Finding((*path, "headers"), message, related_paths=related)
        if "facility" in destination.model_fields_set and protocol in OTLP_PROTOCOLS:
            yield Finding((*path, "facility"), "cannot be used with OTLP; remove it", related_paths=related)
        if destination.spill is not None:
            yield from _check_spill(destination, path, spilling.setdefault(destination.url, index))


def _check_spill(destination: LogForward, path: KeyPath, first_index: int) -> Iterator[Finding]:
    """Check the disk space of a receiver; `first_index` is the index of the first receiver with the same address."""
    if destination.to.protocol == "udp":
        message = "cannot be used with UDP, which does not tell that a line was lost; write tcp:// or tls://"
        yield Finding((*path, "spill"), message, related_paths=((*path, "to"),))
    elif destination.spill is not None and destination.spill < MIN_SPILL_BYTES:
        yield Finding((*path, "spill"), f'cannot be less than 1 MiB, got {destination.spill} bytes; write "64MiB"')
    elif path[-1] != first_index:
        message = f"cannot be used twice for {destination.url}: logging.forward[{first_index}] has it; remove one"
        yield Finding((*path, "spill"), message, related_paths=(("logging", "forward", first_index, "spill"),))


def _check_jobs(spec: Spec) -> Iterator[Finding]:
    if not spec.jobs:
        yield Finding(
            ("jobs",), 'cannot be empty: there is nothing to run; write jobs: [{name: "main", exec: "COMMAND"}]'
        )
    first_indices: dict[str, int] = {}
    for index, job in enumerate(spec.jobs):
        path: KeyPath = ("jobs", index)
        if job.label in first_indices:
            message = f'cannot be "{job.label}" again: jobs[{first_indices[job.label]}] has this name; choose another'
            yield Finding((*path, "name"), message, related_paths=(path,))
        first_indices.setdefault(job.label, index)
        if job.exec is None:
            yield from _check_job_without_process(job, path)
        yield from _check_service(job, path)
        yield from _check_times(job, path)
        yield from _check_escalation(job, spec.compute_stop_limit(job), (*path, "stop", "escalate"))
        if job.when is not None:
            yield from _check_when_form(job.when, (*path, "when"))
        if job.health is not None:
            yield from _check_health(job.health, (*path, "health"))
        if job.backoff.max < job.backoff.initial:
            initial, longest = format_seconds(job.backoff.initial), format_seconds(job.backoff.max)
            message = f"cannot be shorter than initial ({initial}), got {longest}"
            yield Finding((*path, "backoff", "max"), message, related_paths=((*path, "backoff", "initial"),))


def _check_job_without_process(job: Job, path: KeyPath) -> Iterator[Finding]:
    """Check a job without a process: it checks and advertises a service that runs elsewhere or in another job."""
    exec_path: KeyPath = (*path, "exec")
    if job.health is None:
        message = "cannot be left out; it is the command (without one a job needs a health check and offers a service)"
        yield Finding(exec_path, message, related_paths=(exec_path, (*path, "health")))
        return
    if job.name is None:
        yield Finding(
            (*path, "name"), "cannot be left out without exec, which would name the job", related_paths=(exec_path,)
        )
        return
    if job.when is not None and (job.when.each is not None or _is_periodic(job.when)):
        message = "cannot make a job without exec run again and again: it has no process; write `once`, or add exec"
        yield Finding((*path, "when"), message, related_paths=(exec_path,))
    if job.essential:
        yield Finding(
            (*path, "essential"), "cannot be true without exec: the job has no end", related_paths=(exec_path,)
        )


def _check_service(job: Job, path: KeyPath) -> Iterator[Finding]:
    if job.port is not None:
        if not _SERVICE_NAME.fullmatch(job.label):
            form = "a lower-case letter, then one or more letters, digits and hyphens"
            message = f'cannot be "{job.label}" in a job with a port; the name of a service is {form}'
            yield Finding((*path, "name"), message, related_paths=((*path, "exec"),))
        if job.health is None:
            message = "cannot be given without health, which tells if the service works; add a health check"
            yield Finding((*path, "port"), message, at_key=True, related_paths=((*path, "health"),))
        return
    for key in ("initial_status", "tags", "meta", "interfaces", "consul"):
        if key in job.model_fields_set:
            message = "has no effect without a port: the job offers no service; add port or remove this"
            yield Finding((*path, key), message, at_key=True, warning=True, related_paths=((*path, "port"),))


def _check_times(job: Job, path: KeyPath) -> Iterator[Finding]:
    when = job.when or When()
    every = when.interval if _is_periodic(when) else None
    if every is not None and job.timeout is not None and job.timeout > every:
        message = (
            f"is longer than the interval ({format_seconds(every)}): runs never overlap, so a slow one delays the next"
        )
        yield Finding((*path, "timeout"), message, warning=True)
    if when.each is not None and job.restarts == "unlimited":
        message = 'cannot be "unlimited" beside `each`: the event already starts it again; write "never" or a number'
        yield Finding((*path, "restarts"), message)
    kind = next(
        (k for k in ("each", "cron") if getattr(when, k) is not None), "interval" if every is not None else None
    )
    if kind in ("interval", "cron") and job.restarts == "on-failure":
        message = f'cannot be "on-failure" beside {kind}: it runs again anyway; write how many more runs there are'
        yield Finding((*path, "restarts"), message, related_paths=((*path, "when", kind),))
    if job.essential and kind is not None:
        message = f"cannot be true beside when.{kind}: its first end would be the container's; remove one of the two"
        yield Finding((*path, "essential"), message, related_paths=((*path, "when", kind),))


def _check_escalation(job: Job, limit: float, path: KeyPath) -> Iterator[Finding]:
    previous = 0.0
    for index, step in enumerate(job.stop.escalate or ()):
        if not previous < step.after < limit:
            bounds = f"after {format_seconds(previous)} and before {format_seconds(limit)}"
            message = f"cannot be {format_seconds(step.after)}; it must come {bounds}"
            yield Finding((*path, index, "after"), message, related_paths=((*path[:-1], "timeout"),))
        previous = step.after


def _is_periodic(when: When) -> bool:
    return when.once is None and when.each is None and when.all is None


def _check_when_form(when: When, path: KeyPath) -> Iterator[Finding]:
    forms = [name for name in ("once", "each", "all", "cron") if getattr(when, name) is not None]
    broken = tuple((*path, name) for name in ("once", "each", "all", "interval", "cron"))
    if len(forms) > 1:
        yield Finding(path, f"cannot have both {forms[0]} and {forms[1]}; one of {_WHEN_FORMS}", related_paths=broken)
    if when.each is not None and when.interval is not None:
        message = "cannot stand beside `each`: a delay belongs to `once`, a period stands alone; remove one of the two"
        yield Finding((*path, "interval"), message, related_paths=broken)
    if when.all == ():
        yield Finding((*path, "all"), "cannot be empty; list the events to wait for as {source, once}")
    if when.all is not None and when.source is not None:
        yield Finding((*path, "source"), "cannot stand beside `all`; put it into the items: all: [{source, once}]")
    if when.timezone is not None and when.cron is None:
        yield Finding(
            (*path, "timezone"), "cannot be given without cron; add cron or remove this", related_paths=broken
        )
    if not forms and when.interval is None and when.source not in SIGNAL_SOURCES:
        reason = "once or each is missing beside source" if when.source is not None else "it names no event and no time"
        yield Finding(path, f"cannot be used: {reason}; write one of {_WHEN_FORMS}", related_paths=broken)
    if (not forms and when.interval is not None) or forms == ["cron"]:
        alone = "cron" if forms else "an interval alone"
        for key in ("source", "timeout", *(("interval",) if forms else ())):
            if getattr(when, key) is not None:
                message = f"cannot stand beside {alone}: there is no event to wait for; add `once` or remove it"
                yield Finding((*path, key), message, related_paths=broken)


def _check_health(health: Health, path: KeyPath) -> Iterator[Finding]:
    given = health.given_kinds
    about = tuple((*path, name) for name in CHECK_KINDS)
    if not given and not health.model_fields_set & {"interval", "ttl"}:
        message = f"cannot be without a check; add one of {join_names(CHECK_KINDS, 'or')}"
        yield Finding(path, message, related_paths=about)
    if len(given) > 1:
        yield Finding(
            (*path, given[1]),
            f"cannot stand beside {given[0]}: one check for each job; keep one of the two",
            related_paths=about,
        )
    if health.timeout is not None and health.timeout > health.interval:
        message = (
            f"is longer than the interval ({format_seconds(health.interval)}): a slow check makes the next one late"
        )
        yield Finding((*path, "timeout"), message, warning=True, related_paths=((*path, "interval"),))


def _check_batch_system(spec: Spec) -> Iterator[Finding]:
    yield from _check_batch_probes(spec)
    if spec.batch is None:
        return
    system, section = spec.batch
    for other in spec.given_batch_systems[1:]:
        message = f"cannot stand beside {system}: one batch system for each container; keep one of the two"
        yield Finding((other,), message, at_key=True, related_paths=((system,),))
    path = (system, "job")
    names = [job.label for job in spec.jobs]
    found = len(spec.batch_jobs)
    about = tuple(("jobs", i, key) for i in range(len(names)) for key in ("name", "exec"))
    if section.job is not None and not found:
        message = f'cannot be "{section.job}": there is no such job{format_suggestion(section.job, names)}'
        yield Finding(path, message, related_paths=about)
    elif found != 1 and section.job is None:
        what = f"{found} jobs run {section.program}" if found else f"no job runs {section.program}"
        yield Finding(path, f"cannot be left out: {what}; name the job", related_paths=about)
    for job in spec.batch_jobs[:1]:
        if job.when is not None and (job.when.each is not None or _is_periodic(job.when)):
            message = f'cannot be "{job.label}": it runs again and again; {section.program} is started once'
            yield Finding(path, message, related_paths=about)
        if problem := section.find_command_problem(job.exec or ()):
            where: KeyPath = ("jobs", next(i for i, one in enumerate(spec.jobs) if one is job), "exec")
            yield Finding(where, problem, related_paths=((system, "node"),))


def _check_batch_probes(spec: Spec) -> Iterator[Finding]:
    """Find checks that ask a batch system which is not there."""
    present = spec.batch.name if spec.batch is not None else None
    for index, job in enumerate(spec.jobs):
        for kind in job.health.given_kinds if job.health is not None else ():
            needed = load_check_kind(kind).BATCH_SYSTEM
            if needed not in (None, present):
                message = f"cannot be asked without the section {needed}; add {needed}: {{job: NAME}}"
                yield Finding(("jobs", index, "health", kind), message, related_paths=((needed,),))


def _check_lifetime(spec: Spec) -> Iterator[Finding]:
    life, path = spec.lifetime, ("lifetime",)
    if life is None:
        return
    if life.drain is None and spec.batch is None:
        reason = "nothing says how to empty this container"
        message = f"cannot be left out: {reason}; write {{exec, until}} or add {_BATCH_NAMES}"
        yield Finding((*path, "drain"), message, related_paths=_BATCH_KEYS)
    if life.jitter and life.max is None:
        yield Finding(
            (*path, "jitter"), "cannot be given without max, which it is added to", related_paths=((*path, "max"),)
        )
    if life.after is not None and life.max is None:
        yield Finding(
            (*path, "after"), "cannot be given without max, which counts from it", related_paths=((*path, "max"),)
        )
    if life.within is not None and life.deadline is None:
        reason = "payloads must have ended before the batch job around this supervisor does"
        yield Finding(
            (*path, "deadline"),
            f"cannot be left out beside within: {reason}; write the time that payloads have to finish in a drain",
            related_paths=((*path, "within"),),
        )
    if life.idle is not None and spec.batch is None:
        reason = f"without an {_PAYLOAD_SYSTEMS} section: nothing else tells what runs"
        yield Finding((*path, "idle"), f"cannot be known {reason}; add it or remove this", related_paths=_BATCH_KEYS)
    if life.idle is not None and spec.batch is not None and not spec.batch.section.runs_payloads:
        name = spec.batch.name
        message = f"cannot be used with {name}: its jobs run elsewhere, and users may submit at any time; remove it"
        yield Finding((*path, "idle"), message, related_paths=((name,),))
    if life.payloads is not None:
        yield from _check_payload_limit(spec)


def _check_payload_limit(spec: Spec) -> Iterator[Finding]:
    path: KeyPath = ("lifetime", "payloads")
    if spec.batch is None:
        reason = f"without an {_PAYLOAD_SYSTEMS} section: nothing else takes payloads"
        yield Finding(path, f"cannot be kept {reason}; add it or remove this", related_paths=_BATCH_KEYS)
        return
    name, section = spec.batch
    if problem := section.find_limit_problem():
        yield Finding(path, f"cannot be kept by {name}: {problem}", related_paths=((name,), (name, "node")))


def _check_drains(spec: Spec) -> Iterator[Finding]:
    drain, path = (spec.lifetime.drain if spec.lifetime else None), ("lifetime", "drain")
    if drain is not None:
        yield from _check_drain(spec, drain, path)
    if spec.batch is None and spec.lifetime is None:
        reason = "nothing says how this container is emptied"
        message = f'cannot be "drain" without a lifetime or {_BATCH_NAMES} section: {reason}'
        missing: tuple[KeyPath, ...] = (*_BATCH_KEYS, ("lifetime",))
        if spec.on_sigterm == "drain":
            yield Finding(("on_sigterm",), message, related_paths=missing)
        for index, job in enumerate(spec.jobs):
            if job.health is not None and job.health.on_failure == "drain":
                yield Finding(("jobs", index, "health", "on_failure"), message, related_paths=missing)


def _check_drain(spec: Spec, drain: Drain, path: KeyPath) -> Iterator[Finding]:
    about = tuple((*path, key) for key in (*BATCH_SYSTEMS, "exec", "until"))
    present = spec.batch.name if spec.batch is not None else None
    given = [*drain.given_systems, *(["exec"] if drain.exec is not None else [])]
    if not drain.given_systems:
        if drain.exec is None or drain.until is None:
            forms = join_names([f"{{{name}: true}}" for name in BATCH_SYSTEMS], "or")
            yield Finding(path, f"cannot be incomplete; write {forms}, or both exec and until", related_paths=about)
    elif len(given) > 1:
        yield Finding(path, f"cannot be both {given[0]} and {given[1]}; keep one of the two", related_paths=about)
    elif given[0] != present:
        message = f"cannot be used without the section {given[0]}; add {given[0]}: {{job: NAME}}"
        yield Finding((*path, given[0]), message, related_paths=((given[0],),))


def _check_metrics(spec: Spec) -> Iterator[Finding]:
    metrics = spec.telemetry.metrics if spec.telemetry else ()
    for index, metric in enumerate(metrics):
        path: KeyPath = ("telemetry", "metrics", index)
        for key in ("namespace", "subsystem", "name"):
            value = getattr(metric, key)
            if value is not None and not re.fullmatch(r"[a-zA-Z_][a-zA-Z0-9_]*", value):
                yield Finding((*path, key), f'cannot be "{value}"; write letters, digits and _ only, no digit first')
        if metric.buckets is not None and metric.type != "histogram":
            yield Finding(
                (*path, "buckets"),
                f"cannot be given for a {metric.type}; only a histogram has buckets",
                related_paths=((*path, "type"),),
            )
    for index, shared, other in find_clashes([(metric.full_name, metric.type) for metric in metrics]):
        metric = metrics[index]
        if other is None:
            reason = f'autopilot itself exports "{shared}"'
        else:
            first = metrics[other]
            reason = f'the {first.type} "{first.full_name}" exports "{shared}" too'
        message = f'cannot make the {metric.type} "{metric.full_name}": {reason}; write another name or namespace'
        about = tuple(
            ("telemetry", "metrics", i, key)
            for i in (index, other)
            if i is not None
            for key in ("namespace", "subsystem", "name", "type")
        )
        yield Finding(("telemetry", "metrics", index, "name"), message, related_paths=about)
