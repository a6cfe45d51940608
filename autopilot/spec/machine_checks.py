"""Warn about everything that `run` would refuse or fail at on this machine: libraries, files, directories, rights.

A job spec may be meant for another machine, so all of these are warnings of `check`, marked "on this machine". Nothing
is changed, and nothing but the spec's own files is read.
"""

from __future__ import annotations

import os
import resource
import shutil
import ssl
from collections.abc import Iterator
from importlib.util import find_spec

from autopilot.spec.env_file import read_env_file
from autopilot.spec.findings import Finding
from autopilot.spec.key_paths import KeyPath
from autopilot.spec.os_names import is_missing_program, is_unknown_user
from autopilot.spec.spec_model import Job, Spec

_MODULES_BY_SECTION = {  # the section of the job spec, and the extra that installs its modules
    "consul": ("aiohttp", "consul", "ifaddr"),
    "telemetry": ("prometheus_client", "psutil", "ifaddr"),
    "templates": ("jinja2",),
}
_EXTRAS_BY_SECTION = {"consul": "consul", "telemetry": "consul,telemetry", "templates": "templates"}
_CAP_SETGID, _CAP_SETUID, _CAP_SYS_RESOURCE = 6, 7, 24  # capabilities(7)


def check_machine(spec: Spec) -> Iterator[Finding]:
    """Yield a warning for each thing that this machine lacks."""
    yield from _check_libraries(spec)
    yield from _check_batch_program(spec)
    yield from _check_consul_files(spec)
    yield from _check_directories(spec)
    for path, argv in _list_commands(spec):
        if is_missing_program(argv, {}, None):
            yield _warn(path, "run", f'there is no program "{argv[0]}"')
    for index, job in enumerate(spec.jobs):
        yield from _check_job(job, ("jobs", index))


def _warn(path: KeyPath, verb: str, reason: str) -> Finding:
    return Finding(path, f"cannot be {verb} on this machine: {reason}", warning=True)


def _check_libraries(spec: Spec) -> Iterator[Finding]:
    for section, modules in _MODULES_BY_SECTION.items():
        missing = [module for module in modules if find_spec(module) is None]
        if getattr(spec, section) and missing:
            remedy = f"pip install condor-autopilot[{_EXTRAS_BY_SECTION[section]}]"
            yield _warn((section,), "used", f"not installed: {', '.join(missing)} ({remedy})")


def _check_batch_program(spec: Spec) -> Iterator[Finding]:
    """Check the programs of a batch system whose section is written; an implied one is started in any case."""
    for name in spec.given_batch_systems:
        program = getattr(spec, name).program
        if shutil.which(program) is None:
            yield _warn((name,), "used", f'there is no program "{program}" on PATH; install it, or set PATH')


def _check_consul_files(spec: Spec) -> Iterator[Finding]:
    if spec.consul is None:
        return
    if spec.consul.token_file is not None and (problem := _find_read_problem(spec.consul.token_file)):
        yield _warn(("consul", "token_file"), "read", problem)
    tls = spec.consul.tls
    if tls is None or spec.consul.scheme != "https":  # without TLS they are not opened
        return
    findings = [
        _warn(("consul", "tls", key), "read", problem)
        for key in ("cafile", "clientcert", "clientkey")
        if (name := getattr(tls, key)) is not None and (problem := _find_read_problem(name))
    ]
    yield from findings
    if findings:
        return
    try:
        context = ssl.create_default_context(cafile=tls.cafile, capath=tls.capath)
        if tls.clientcert is not None:
            context.load_cert_chain(tls.clientcert, tls.clientkey, password="")  # "": never ask a terminal
    except (OSError, ssl.SSLError) as error:
        yield _warn(("consul", "tls"), "used", f"{error.strerror or error}; write PEM files")


def _check_directories(spec: Spec) -> Iterator[Finding]:
    if spec.state is not None and (problem := _find_write_problem(spec.state)):
        yield _warn(("state",), "used", problem)
    socket = spec.control.socket if spec.control is not None else None
    if socket is not None and (problem := _find_write_problem(os.path.dirname(socket) or ".")):
        yield _warn(("control", "socket"), "used", problem)
    output = spec.logging.output if spec.logging is not None else "stdout"
    if output.lower() not in ("stdout", "stderr") and (problem := _find_file_problem(output)):
        yield _warn(("logging", "output"), "written", problem)
    for index, template in enumerate(spec.templates):
        if problem := _find_read_problem(template.source):
            yield _warn(("templates", index, "source"), "read", problem)
        if problem := _find_write_problem(os.path.dirname(template.destination)):
            yield _warn(("templates", index, "destination"), "written", problem)


def _list_commands(spec: Spec) -> Iterator[tuple[KeyPath, tuple[str, ...]]]:
    """Yield the commands that belong to no job, with their paths."""
    drain = spec.lifetime.drain if spec.lifetime is not None else None
    for key in ("exec", "until"):
        if drain is not None and (argv := getattr(drain, key)) is not None:
            yield ("lifetime", "drain", key), argv
    for index, template in enumerate(spec.templates):
        if template.on_change.exec is not None:
            yield ("templates", index, "on_change", "exec"), template.on_change.exec


def _check_job(job: Job, path: KeyPath) -> Iterator[Finding]:
    if job.env_file is not None and os.path.exists(job.env_file):
        try:
            read_env_file(job.env_file)
        except (OSError, ValueError) as error:
            yield _warn((*path, "env_file"), "read", getattr(error, "strerror", None) or str(error))
    if job.user is not None and not is_unknown_user(job.user) and not _has_capabilities(_CAP_SETUID, _CAP_SETGID):
        reason = f"uid {os.geteuid()} may not become another user; start the supervisor as root"
        yield _warn((*path, "user"), "used", reason)
    elif job.group is not None and not _has_capabilities(_CAP_SETGID):
        reason = f"uid {os.geteuid()} may not change its group; start the supervisor as root"
        yield _warn((*path, "group"), "used", reason)
    for name, value in job.limits.items():
        hard = resource.getrlimit(getattr(resource, f"RLIMIT_{name.upper()}"))[1]
        is_above = hard != resource.RLIM_INFINITY and (value == -1 or value > hard)
        if is_above and not _has_capabilities(_CAP_SYS_RESOURCE):
            yield _warn((*path, "limits"), "set", f"{name} cannot be above {hard}, the limit of the supervisor itself")


def _has_capabilities(*numbers: int) -> bool:
    """Return True when this process has all of these capabilities; False where the kernel does not tell."""
    try:
        with open("/proc/self/status", encoding="ascii", errors="replace") as file:
            line = next(line for line in file if line.startswith("CapEff:"))
    except (OSError, StopIteration):
        return os.geteuid() == 0
    effective = int(line.split()[1], 16)
    return all(effective >> number & 1 for number in numbers)


def _find_read_problem(path: str) -> str:
    """Return a sentence when a file cannot be read, else ""."""
    if not os.path.exists(path):
        return f'there is no "{path}"'
    return "" if os.access(path, os.R_OK) else f'uid {os.geteuid()} may not read "{path}"'


def _find_write_problem(directory: str) -> str:
    """Return a sentence when a directory cannot be written, or not be made, else ""."""
    existing = directory
    while not os.path.lexists(existing) and existing != os.path.dirname(existing):
        existing = os.path.dirname(existing) or "."
    if not os.path.isdir(existing):
        return f'"{existing}" is not a directory'
    if os.access(existing, os.W_OK | os.X_OK):
        return ""
    return f'uid {os.geteuid()} may not write into "{existing}"'


def _find_file_problem(path: str) -> str:
    """Return a sentence when a file cannot be opened for writing, else ""; its directory is not made."""
    if os.path.exists(path):
        return "" if os.access(path, os.W_OK) else f'uid {os.geteuid()} may not write "{path}"'
    directory = os.path.dirname(path) or "."
    return _find_write_problem(directory) if os.path.isdir(directory) else f'there is no directory "{directory}"'
