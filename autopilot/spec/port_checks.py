"""Warn about ports that cannot be opened on this machine, and about interfaces that it does not have."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from autopilot.spec.file_problems import build_machine_warning, read_number
from autopilot.spec.findings import Finding
from autopilot.spec.key_paths import KeyPath

if TYPE_CHECKING:
    from autopilot.spec.spec_model import Spec

FIRST_UNPRIVILEGED_PORT_PATH = "/proc/sys/net/ipv4/ip_unprivileged_port_start"


def check_ports(spec: Spec, *, has_bind_right: bool) -> Iterator[Finding]:
    """Yield a warning for the telemetry port, and for each port that a job registers in Consul.

    Args:
        spec: The job spec.
        has_bind_right: This process may open ports that need CAP_NET_BIND_SERVICE.
    """
    if spec.telemetry is not None:
        first_free = read_number(FIRST_UNPRIVILEGED_PORT_PATH)
        if first_free is not None and spec.telemetry.port < first_free and not has_bind_right:
            reason = f"uid {os.geteuid()} may not open a port below {first_free}; write a higher one"
            yield build_machine_warning(("telemetry", "port"), "opened", reason)
        if problem := _find_interface_problem(spec.telemetry.interfaces):
            yield build_machine_warning(("telemetry", "interfaces"), "used", problem)
    for index, job in enumerate(spec.jobs if spec.consul is not None else ()):
        path: KeyPath = ("jobs", index, "interfaces")
        if job.port is not None and (problem := _find_interface_problem(job.interfaces)):
            yield build_machine_warning(path, "used", problem)


def _find_interface_problem(rules: Sequence[str]) -> str:
    """Return a sentence when all rules name interfaces that are not here, else "": other rules need the addresses."""
    try:
        present = {name for _, name in socket.if_nameindex()}
    except OSError:  # the kernel does not tell
        return ""
    for rule in rules:
        name = rule.partition(":")[0].partition("[")[0]
        if "/" in rule or name in ("inet", "inet6", "static") or name in present:
            return ""
    return f"there is no {' or '.join(rules)} (there are: {', '.join(sorted(present))})" if rules else ""
