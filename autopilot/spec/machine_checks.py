"""Warn about everything that `run` would refuse or fail at on this machine: libraries, files, directories, rights.

A job spec may be meant for another machine, so all of these are warnings of `check`, marked "on this machine". Nothing
is changed, and nothing but the spec's own files is read.
"""

from __future__ import annotations

import grp
import os
import pwd
import resource
import shutil
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Literal

from autopilot.errors import REINSTALL_REMEDY
from autopilot.socket_addresses import MAX_NAME_BYTES, is_name_too_long
from autopilot.spec.consul_machine_checks import check_consul_machine
from autopilot.spec.env_file import read_env_file
from autopilot.spec.executables import find_interpreter_problem, find_program_problem, find_size_problem
from autopilot.spec.file_problems import (
    build_machine_warning,
    find_access_problem,
    find_destination_problem,
    find_file_problem,
    find_read_problem,
    find_write_problem,
    read_number,
)
from autopilot.spec.findings import Finding
from autopilot.spec.id_maps import is_mapped, may_set_groups
from autopilot.spec.key_paths import KeyPath
from autopilot.spec.os_names import is_unknown_group, is_unknown_user, list_programs
from autopilot.spec.otlp_library import OTLP_PROTOCOLS, OTLP_REMEDY, is_otlp_installed
from autopilot.spec.port_checks import check_ports
from autopilot.spec.privilege_names import CAPABILITY_NAMES, format_capabilities
from autopilot.spec.spec_model import Job, Spec
from autopilot.spec.template_checks import find_template_problem
from autopilot.spec.tls_files import find_tls_problem
from autopilot.state_directory import choose_state_directory

_MODULES_BY_SECTION = {  # each section of the job spec, and the modules that it needs
    "consul": ("consul", "h11", "ifaddr"),
    "telemetry": ("prometheus_client", "psutil", "ifaddr"),
    "templates": ("jinja2",),
}
_CAP_CHOWN, _CAP_SETGID, _CAP_SETUID, _CAP_SETPCAP = 0, 6, 7, 8  # capabilities(7)
_CAP_NET_BIND_SERVICE, _CAP_SYS_RESOURCE = 10, 24
MAX_OPEN_FILES_PATH = "/proc/sys/fs/nr_open"


def check_machine(spec: Spec) -> Iterator[Finding]:
    """Yield a warning for each thing that this machine lacks."""
    yield from _check_libraries(spec)
    yield from _check_batch_program(spec)
    yield from check_consul_machine(spec, os.environ)
    yield from _check_directories(spec)
    yield from _check_log_files(spec)
    yield from check_ports(spec, has_bind_right=_has_capabilities(_CAP_NET_BIND_SERVICE))
    for path, argv in _list_commands(spec):
        if problem := find_program_problem(argv):
            yield build_machine_warning(path, "run", problem)
    for index, job in enumerate(spec.jobs):
        yield from _check_job(job, ("jobs", index))


def _check_libraries(spec: Spec) -> Iterator[Finding]:
    for section, modules in _MODULES_BY_SECTION.items():
        missing = [module for module in modules if find_spec(module) is None]
        if getattr(spec, section) and missing:
            yield build_machine_warning((section,), "used", f"not installed: {', '.join(missing)} ({REINSTALL_REMEDY})")
    for index, destination in enumerate(spec.logging.forward if spec.logging is not None else ()):
        if destination.to.protocol in OTLP_PROTOCOLS and not is_otlp_installed():
            yield build_machine_warning(("logging", "forward", index, "to"), "used", OTLP_REMEDY)


def _check_batch_program(spec: Spec) -> Iterator[Finding]:
    """Check the programs of a batch system whose section is written; an implied one is started in any case."""
    for name in spec.given_batch_systems:
        program = getattr(spec, name).program
        if shutil.which(program) is None:
            yield build_machine_warning(
                (name,), "used", f'there is no program "{program}" on PATH; install it, or set PATH'
            )
        for path, verb, reason in getattr(spec, name).list_machine_problems():
            yield build_machine_warning((name, *path), verb, reason)


def _check_directories(spec: Spec) -> Iterator[Finding]:
    state = choose_state_directory(spec.state)
    if problem := find_write_problem(state):
        remedy = "" if spec.state is not None else "; set `state` in the job spec or AUTOPILOT_STATE"
        yield build_machine_warning(("state",), "used", f"{problem}{remedy}")
    written = spec.control.socket if spec.control is not None else None
    socket = os.environ.get("AUTOPILOT_SOCKET") or written or os.path.join(state, "autopilot.sock")
    if is_name_too_long(socket):
        reason = f'the last part of its path "{socket}" is longer than {MAX_NAME_BYTES} bytes; set `control.socket`'
        yield build_machine_warning(("control", "socket"), "used", reason)
    elif os.path.isdir(socket):
        reason = f'"{socket}" is a directory, which `run` would move aside; name the socket in it'
        yield build_machine_warning(("control", "socket"), "used", reason)
    elif (written or os.environ.get("AUTOPILOT_SOCKET")) and (
        problem := find_write_problem(os.path.dirname(socket) or ".")
    ):
        yield build_machine_warning(("control", "socket"), "used", problem)
    output = spec.logging.output if spec.logging is not None else "stdout"
    if output.lower() not in ("stdout", "stderr") and (problem := find_file_problem(output)):
        yield build_machine_warning(("logging", "output"), "written", problem)
    for index, template in enumerate(spec.templates):
        if problem := find_template_problem(template.source):
            yield build_machine_warning(("templates", index, "source"), "used", problem)
        if problem := find_destination_problem(template.destination):
            yield build_machine_warning(("templates", index, "destination"), "written", problem)
        for key, problem in (
            ("user", _find_owner_problem("user", template.user, has_group=template.group is not None)),
            ("group", _find_owner_problem("group", template.group)),
        ):
            if problem:
                yield build_machine_warning(("templates", index, key), "used", problem)


def _find_owner_problem(key: Literal["user", "group"], name: str | None, *, has_group: bool = False) -> str:
    """Return a sentence when a file cannot be given to a user or a group, else ""; `has_group` says there are both."""
    if name is None:
        return ""
    if is_unknown_user(name) if key == "user" else is_unknown_group(name):
        return f'there is no {key} "{name}"'
    if key == "user":
        entry = _find_password_entry(name)
        number = int(name) if entry is None else entry.pw_uid
        group = number if entry is None else entry.pw_gid  # the file gets it, too, without a group of its own
        is_own = number == os.geteuid() and (has_group or group in {os.getegid(), *os.getgroups()})
    else:
        number = int(name) if name.isdigit() else grp.getgrnam(name).gr_gid
        is_own = number in {os.getegid(), *os.getgroups()}
    if not is_own and not _has_capabilities(_CAP_CHOWN):
        return f"uid {os.geteuid()} may not give files away; start the supervisor as root"
    kind: Literal["uid", "gid"] = "uid" if key == "user" else "gid"
    return "" if is_mapped(kind, number) else _format_unmapped(kind, number)


def _check_log_files(spec: Spec) -> Iterator[Finding]:
    """Check the certificates for receivers of the log."""
    for index, destination in enumerate(spec.logging.forward if spec.logging is not None else ()):
        path: KeyPath = ("logging", "forward", index)
        problems = [
            build_machine_warning((*path, key), "read", problem)
            for key in ("ca_file", "cert_file", "key_file")
            if (name := getattr(destination, key)) is not None and (problem := find_read_problem(name))
        ]
        yield from problems
        files = destination.ca_file, destination.cert_file, destination.key_file
        if any(files) and not problems:
            cafile, certfile, keyfile = files
            if problem := find_tls_problem(cafile=cafile, certfile=certfile, keyfile=keyfile):
                yield build_machine_warning(path, "used", problem)


def _list_commands(spec: Spec) -> Iterator[tuple[KeyPath, tuple[str, ...]]]:
    """Yield the commands that belong to no job, with their paths."""
    drain = spec.lifetime.drain if spec.lifetime is not None else None
    for key in ("exec", "until"):
        if drain is not None and (argv := getattr(drain, key)) is not None:
            yield ("lifetime", "drain", key), argv
    if spec.lifetime is not None and spec.lifetime.within is not None and spec.lifetime.within.exec is not None:
        yield ("lifetime", "within", "exec"), spec.lifetime.within.exec
    for index, gate in enumerate(spec.checks):
        if gate.exec is not None:
            yield ("checks", index, "exec"), gate.exec
    for index, template in enumerate(spec.templates):
        if template.on_change.exec is not None:
            yield ("templates", index, "on_change", "exec"), template.on_change.exec


def _check_job(job: Job, path: KeyPath) -> Iterator[Finding]:
    commands = [((*path, "exec"), job.exec)]
    if job.health is not None:
        commands.append(((*path, "health", "exec"), job.health.exec))
    for command_path, argv in commands:
        # an exec goes on to the next directory of PATH where it may not execute a program
        programs = list_programs(argv, job.env, job.cwd) if argv is not None else []
        problems = [find_interpreter_problem(program) or _find_access_problem(job, program) for program in programs]
        if problems and all(problems):
            yield build_machine_warning(command_path, "run", problems[0])
        elif argv is not None and (
            problem := find_size_problem(argv, {**os.environ, **job.env}, job.limits.get("stack"))
        ):
            yield build_machine_warning(command_path, "run", problem)
    if job.cwd is not None and os.path.isdir(job.cwd) and (problem := _find_access_problem(job, job.cwd)):
        yield build_machine_warning((*path, "cwd"), "entered", problem)
    if job.env_file is not None and os.path.exists(job.env_file):
        try:
            read_env_file(job.env_file)
        except (OSError, ValueError) as error:
            yield build_machine_warning((*path, "env_file"), "read", getattr(error, "strerror", None) or str(error))
    if is_unknown_user(job.user) or is_unknown_group(job.group):
        pass  # told already
    elif job.user is not None and (problem := _find_identity_problem(job.user, job.group)):
        yield build_machine_warning((*path, "user"), "used", problem)
    elif job.user is None and job.group is not None and (problem := _find_group_problem(job.group)):
        yield build_machine_warning((*path, "group"), "used", problem)
    yield from _check_privileges(job, path)
    for name, value in job.limits.items():
        if problem := _find_limit_problem(name, value):
            yield build_machine_warning((*path, "limits"), "set", problem)


def _find_limit_problem(name: str, value: int) -> str:
    """Return a sentence when a resource limit cannot be set, else ""; -1 is unlimited."""
    hard = resource.getrlimit(getattr(resource, f"RLIMIT_{name.upper()}"))[1]
    is_above = hard != resource.RLIM_INFINITY and (value == -1 or value > hard)
    if is_above and not _has_capabilities(_CAP_SYS_RESOURCE):
        return f"{name} cannot be above {hard}, the limit of the supervisor itself"
    most = read_number(MAX_OPEN_FILES_PATH) if name == "nofile" else None
    if most is not None and (value == -1 or value > most):
        return f"{name} cannot be above {most}, the kernel's limit (fs.nr_open)"
    return ""


def _find_access_problem(job: Job, place: str) -> str:
    """Return a sentence when the job's user may not execute a program or enter a directory, else ""."""
    if job.user is None:
        return "" if os.access(place, os.X_OK) else f'uid {os.geteuid()} may not enter "{place}"'
    if is_unknown_user(job.user) or is_unknown_group(job.group):
        return ""
    return find_access_problem(place, *_find_ids(job.user, job.group))


def _find_ids(user: str, group: str | None) -> tuple[int, set[int]]:
    """Return the uid of a job's process and the ids of all its groups; `group` replaces the user's primary one."""
    entry = _find_password_entry(user)
    uid = int(user) if entry is None else entry.pw_uid
    primary = uid if entry is None else entry.pw_gid
    if group is not None:
        primary = int(group) if group.isdigit() else grp.getgrnam(group).gr_gid
    return uid, {primary} if entry is None else {primary, *os.getgrouplist(entry.pw_name, primary)}


def _find_password_entry(user: str) -> pwd.struct_passwd | None:
    try:
        return pwd.getpwuid(int(user)) if user.isdigit() else pwd.getpwnam(user)
    except KeyError:
        return None


def _find_identity_problem(user: str, group: str | None) -> str:
    """Return a sentence when this process cannot start another one as `user`, with `group` if there is one, else ""."""
    uid, groups = _find_ids(user, group)
    if uid != os.geteuid() and not _has_capabilities(_CAP_SETUID, _CAP_SETGID):
        return f"uid {os.geteuid()} may not become another user; start the supervisor as root"
    if not is_mapped("uid", uid):
        return _format_unmapped("uid", uid)
    if unmapped := [group for group in sorted(groups) if not is_mapped("gid", group)]:
        return _format_unmapped("gid", unmapped[0])
    return _find_surplus_problem(groups, "user")


def _find_group_problem(group: str) -> str:
    """Return a sentence when this process cannot start another one with `group`, else ""."""
    gid = int(group) if group.isdigit() else grp.getgrnam(group).gr_gid
    if gid != os.getegid() and not _has_capabilities(_CAP_SETGID):
        return f"uid {os.geteuid()} may not change its group; start the supervisor as root"
    if not is_mapped("gid", gid):
        return _format_unmapped("gid", gid)
    return _find_surplus_problem({gid}, "group")


def _find_surplus_problem(groups: set[int], key: str) -> str:
    """Return a sentence when a process with these groups would keep others of the supervisor, else ""."""
    surplus = set(os.getgroups()) - groups
    if not surplus or (_has_capabilities(_CAP_SETGID) and may_set_groups()):
        return ""
    return f"the supervisor may not give up its groups {sorted(surplus)} without CAP_SETGID; leave `{key}` out"


def _format_unmapped(kind: str, number: int) -> str:
    problem = f"{kind} {number} does not exist in this user namespace (/proc/self/{kind}_map)"
    return f"{problem}; give the container more ids, or write one that it has"


def _check_privileges(job: Job, path: KeyPath) -> Iterator[Finding]:
    reason = f"uid {os.geteuid()} has no CAP_SETPCAP; start the supervisor as root"
    if job.secure_bits and not _has_capabilities(_CAP_SETPCAP):
        yield build_machine_warning((*path, "secure_bits"), "set", reason)
    bounding = _read_capability_set("CapBnd")
    if job.capabilities is None or bounding is None:
        return
    known = range(max(len(CAPABILITY_NAMES), bounding.bit_length()))
    if any(bounding >> n & 1 and n not in job.capabilities for n in known) and not _has_capabilities(_CAP_SETPCAP):
        yield build_machine_warning((*path, "capabilities"), "limited", reason)
    missing = [number for number in job.capabilities if not bounding >> number & 1]
    if missing:
        verb = f"given {format_capabilities(missing)}"
        yield build_machine_warning(
            (*path, "capabilities"), verb, "this container has none of them; add them to the container"
        )


def _has_capabilities(*numbers: int) -> bool:
    """Return True when this process has all of these capabilities; False where the kernel does not tell."""
    effective = _read_capability_set("CapEff")
    return os.geteuid() == 0 if effective is None else all(effective >> number & 1 for number in numbers)


def _read_capability_set(name: str) -> int | None:
    """Return a set of this process's capabilities as a bit mask; None where the kernel does not tell."""
    try:
        with open("/proc/self/status", encoding="ascii", errors="replace") as file:
            line = next(line for line in file if line.startswith(f"{name}:"))
    except (OSError, StopIteration):
        return None
    return int(line.split()[1], 16)
