"""Run checks that may hang in the kernel in a child process, which is abandoned when it does not answer.

A path on a dead NFS server, autofs or FUSE mount blocks every process that touches it, and some of them cannot even be
killed. So the supervisor never touches such a path: a child does. It takes the user and the limits of the job that is
checked when all its modules are loaded, because that user may not be able to read them. So `examine` of a kind must not
import anything. While an abandoned child is still there, no other is started: they cannot pile up.
"""

from __future__ import annotations

import json
import resource
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from autopilot.adapters.checks.check_context import CheckContext, CheckResult
from autopilot.process.exit_status import describe_status
from autopilot.process.spawn import set_identity
from autopilot.process.user_identity import resolve
from autopilot.spec.plan import Command, Probe

CHILD_SHARE = 0.9  # of the check's timeout: the child's answer names the path, the timeout's alone does not
# the child imports what its parent would, and nothing from its working directory
CHILD_PROGRAM = (
    "import json, sys; sys.path[:] = json.loads(sys.argv.pop(1)); "
    "from autopilot.adapters.checks.child_check import main; main()"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildProbe(Probe):
    """Settings of a check that runs in a child process: the user, group and limits that it takes there."""

    user: str | None = None
    group: str | None = None
    job_limits: Mapping[str, int] = field(default_factory=dict)


def list_child_settings(build_command: Callable[[tuple[str, ...]], Command]) -> dict[str, Any]:
    """Return the fields of a ChildProbe, from a command that runs as the job does."""
    command = build_command(())
    return {"user": command.user, "group": command.group, "job_limits": command.limits}


async def run_in_child(probe: ChildProbe, context: CheckContext, subject: str) -> CheckResult:
    """Let a child process run `examine` of the check's kind.

    Args:
        probe: The settings of the check.
        context: The context of this run.
        subject: The beginning of the sentence on a child that gives no answer, "cannot read PATH".
    """
    name = f"{context.job}.{probe.kind}"
    if context.commands.is_alive(name):
        return False, f"{subject}: an earlier check still hangs there, and cannot be killed"
    settings = {one.name: getattr(probe, one.name) for one in fields(probe)}
    arguments = (json.dumps(sys.path), probe.kind, json.dumps(settings, default=dict))
    argv = (sys.executable, "-I", "-X", "utf8", "-c", CHILD_PROGRAM, *arguments)
    timeout = context.timeout_s * CHILD_SHARE
    result = await context.commands.run(Command(argv=argv), timeout=timeout, name=name)
    if result.timed_out:
        return False, f"{subject}: no answer within {timeout:g} s, it hangs"
    output = result.output.strip()
    if result.status in (0, 1) and output:
        return result.status == 0, output
    return False, f"{subject}: {output.splitlines()[-1] if output else describe_status(result.status)}"


def main() -> None:
    """Examine what the arguments name, print the answer and exit with 0 (passed) or 1."""
    from autopilot.spec.extensions import load_check_kind

    module: Any = load_check_kind(sys.argv[1])
    probe = module.PROBE_TYPE(**json.loads(sys.argv[2]))
    problem = _become_job(probe)
    passed, sentence = (False, problem) if problem else module.examine(probe)
    print(sentence)
    sys.exit(0 if passed else 1)


def _become_job(probe: ChildProbe) -> str:
    """Take the limits and the user of the job; return why that cannot be, or ""."""
    doing = ""
    try:
        for name, value in probe.job_limits.items():
            doing = f"cannot set limit {name}={value} of the job"
            resource.setrlimit(getattr(resource, f"RLIMIT_{name.upper()}"), (value, value))
        identity = resolve(probe.user, probe.group)
        if identity is not None:
            doing = f"cannot become user {probe.user or identity.uid}, group {identity.gid}"
            set_identity(identity)
    except LookupError as error:
        return str(error)
    except (OSError, ValueError) as error:  # ValueError: above the hard limit
        return f"{doing}: {getattr(error, 'strerror', None) or error}"
    return ""
