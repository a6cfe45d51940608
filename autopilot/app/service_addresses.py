"""Where this container's ports are reached: each job's with a port, and the supervisor's own."""

from __future__ import annotations

from autopilot.spec.plan import Plan

SUPERVISOR_KEY = ""  # the supervisor's, in place of a job's name


def choose_addresses(plan: Plan) -> tuple[dict[str, str], dict[str, str]]:
    """By the rules of each; "" where none finds an address: the registry then has its agent's. And, of each job that is
    so, a sentence with the remedy."""
    from autopilot.adapters import interfaces  # loaded by those who use it

    rules = {job.name: job.service.interfaces for job in plan.jobs if job.service is not None}
    rules[SUPERVISOR_KEY] = plan.telemetry.interfaces if plan.telemetry is not None else ("inet",)
    here = interfaces.list_host_addresses()
    found = {name: interfaces.choose_address(wanted, here) or "" for name, wanted in rules.items()}
    lacking = {}
    for name, address in found.items():
        if not address and name:
            seen = ", ".join(f"{a.interface} {a.ip}" for a in here) or "none"
            said = f"jobs[{name}].interfaces: none of {', '.join(rules[name])} is here (there are: {seen})"
            remedy = "it is registered with the agent's own address; name an interface or static:ADDRESS"
            lacking[name] = f"{said}; {remedy}"
    return found, lacking
