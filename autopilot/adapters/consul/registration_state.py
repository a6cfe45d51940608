"""Define the state, the inputs and the effects of the machine that keeps one service registered."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from autopilot.adapters.consul.service_definition import ServiceDefinition


class Phase(Enum):
    """The phases of the machine."""

    IDLE = "idle"  # until the next heartbeat
    CALLING = "calling"  # a call is in flight
    BACKING_OFF = "backing off"  # the agent refused the last call; the next one comes at the deadline
    UNREACHABLE = "unreachable"  # the agent does not answer


class Input(Enum):
    """The inputs of the machine."""

    DESIRED_CHANGED = "desired changed"
    CALL_SUCCEEDED = "call succeeded"
    SERVICE_MISSING = "service missing"  # the agent does not know the service
    REDEFINED = "redefined"  # another process registered our id
    CALL_REFUSED = "call refused"
    AGENT_LOST = "agent lost"
    AGENT_RETURNED = "agent returned"
    DEADLINE_ELAPSED = "deadline elapsed"


@dataclass(frozen=True, slots=True)
class Desired:
    """The state that a service should have in Consul."""

    definition: ServiceDefinition
    status: str  # passing, warning, critical
    output: str = ""
    maintenance: bool = False


@dataclass(frozen=True, slots=True)
class Observed:
    """The state that a service is known to have in Consul; None in a field: unknown."""

    definition: ServiceDefinition | None
    status: str | None = None
    output: str | None = None
    maintenance: bool | None = None


ABSENT = Observed(None)  # known not to be registered


@dataclass(frozen=True, slots=True)
class Register:
    """Register the service, with the tags that others have set if they may."""

    definition: ServiceDefinition
    status: str
    foreign_tags: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class UpdateCheck:
    """Send a heartbeat with the check's status and output."""

    definition: ServiceDefinition
    status: str
    output: str


@dataclass(frozen=True, slots=True)
class SetMaintenance:
    """Switch the maintenance mode of the service."""

    id: str
    enable: bool


@dataclass(frozen=True, slots=True)
class Deregister:
    """Deregister the service."""

    id: str


Call = Register | UpdateCheck | SetMaintenance | Deregister


@dataclass(frozen=True, slots=True)
class RaiseCondition:
    """Report that Consul refuses the service: once in each streak of refusals."""

    id: str
    reason: str


@dataclass(frozen=True, slots=True)
class ClearCondition:
    """Report that Consul accepts the service again."""

    id: str


Effect = Call | RaiseCondition | ClearCondition


@dataclass(frozen=True, slots=True)
class Registration:
    """The state of one service's machine; times are the event loop's seconds."""

    id: str
    phase: Phase = Phase.IDLE
    deadline: float | None = None
    desired: Desired | None = None  # None: not to be registered
    observed: Observed | None = ABSENT  # None: unknown
    call: Call | None = None  # the one in flight
    last_contact_at: float = 0.0  # the last heartbeat or registration
    consecutive_refusals: int = 0
    takeover_count: int = 0  # registrations of our id by others since the last undisturbed heartbeat
    foreign_tags: tuple[str, ...] | None = None  # as others have set them, where they may
    maintenance_was_set: bool = False  # by us, at any time

    @property
    def is_registered(self) -> bool:
        """True if the agent is known to have the service with our definition."""
        return self.observed is not None and self.observed.definition is not None

    @property
    def is_fully_deregistered(self) -> bool:
        """True if the service is not wanted and known not to be registered."""
        return self.desired is None and self.observed == ABSENT and self.call is None
