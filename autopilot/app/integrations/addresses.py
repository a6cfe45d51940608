"""Choose the addresses for this container's ports: those of jobs, and the supervisor's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from autopilot.adapters.service_names import TELEMETRY_SERVICE
from autopilot.app.integrations.integration_context import IntegrationError
from autopilot.errors import REINSTALL_REMEDY
from autopilot.machines.cues import ConditionDetected, ConditionResolved, Cue
from autopilot.spec.plan import Plan

LOOPBACK = "127.0.0.1"  # of a telemetry port whose interfaces are not here: it asks for no password
SUPERVISOR_KEY = ""  # the supervisor's, in place of a job's name


@dataclass(frozen=True, slots=True)
class AddressChoice:
    """Addresses for one plan.

    Attributes:
        addresses: By job name, and by SUPERVISOR_KEY. "" where no interface matches: the registry then shows its
            agent's address.
        problems: For each job, and for the telemetry port, without an address one sentence with the remedy.
        has_telemetry: The supervisor's address is that of its telemetry port.
    """

    addresses: Mapping[str, str] = field(default_factory=dict)
    problems: Mapping[str, str] = field(default_factory=dict)
    has_telemetry: bool = False


def choose_addresses(plan: Plan) -> AddressChoice:
    """Apply the rules (`interfaces`) of each job with a port, and of the telemetry port, to the host's addresses.

    Raises:
        IntegrationError: A library that lists the host's addresses is not installed.
    """
    if plan.consul is None and plan.telemetry is None:
        return AddressChoice()
    try:
        from autopilot.adapters import interfaces  # loaded only when used

        host_addresses = interfaces.list_host_addresses()
    except ImportError as error:
        raise IntegrationError(
            f"consul, telemetry: cannot be used: not installed: {error.name} ({REINSTALL_REMEDY})"
        ) from None
    rules = {job.name: job.service.interfaces for job in plan.jobs if job.service is not None}
    rules[SUPERVISOR_KEY] = plan.telemetry.interfaces if plan.telemetry is not None else ("inet",)
    addresses = {name: interfaces.choose_address(wanted, host_addresses) or "" for name, wanted in rules.items()}
    present = ", ".join(f"{a.interface} {a.ip}" for a in host_addresses) or "none"
    problems = {}
    for name, address in addresses.items():
        if not address and name != SUPERVISOR_KEY:
            problem = f"jobs[{name}].interfaces: none of {', '.join(rules[name])} is here (there are: {present})"
            remedy = "it is registered with the agent's own address; name an interface or static:ADDRESS"
            problems[name] = f"{problem}; {remedy}"
    if plan.telemetry is not None and not addresses[SUPERVISOR_KEY]:
        addresses[SUPERVISOR_KEY] = LOOPBACK
        if not plan.telemetry.loopback:
            problem = f"telemetry.interfaces: none of {', '.join(rules[SUPERVISOR_KEY])} is here (there are: {present})"
            remedy = f"the port is open on {LOOPBACK} only; name an interface or static:ADDRESS"
            problems[TELEMETRY_SERVICE] = f"{problem}; {remedy}"
    return AddressChoice(addresses, problems, has_telemetry=plan.telemetry is not None)


class AddressBook:
    """The addresses in use."""

    def __init__(self, report: Callable[[Cue], None]) -> None:
        self._report = report
        self._choice = AddressChoice()
        self._advertised: dict[str, str] = {}

    @property
    def addresses(self) -> Mapping[str, str]:
        """Addresses by job name, and by SUPERVISOR_KEY."""
        return self._choice.addresses

    def use(self, choice: AddressChoice) -> None:
        """Use `choice` from now on, and report the jobs that have no address, or have one again."""
        for job, problem in choice.problems.items():
            self._report(ConditionDetected(f"address-{job}", problem))
        for job in self._choice.problems.keys() - choice.problems.keys():
            self._report(ConditionResolved(f"address-{job}"))
        self._choice = choice

    def advertise(self) -> None:
        """Give jobs the present addresses in their environment."""
        self._advertised = {
            job or TELEMETRY_SERVICE: ip
            for job, ip in self.addresses.items()
            if ip and (job != SUPERVISOR_KEY or self._choice.has_telemetry)
        }

    def get_advertised(self) -> Mapping[str, str]:
        """Return the addresses of advertised jobs and of the telemetry, by name."""
        return self._advertised
