"""Define the errors of calls to Consul: it cannot be reached, or it refuses."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from autopilot.errors import AutopilotError

MAX_ERROR_CHARS = 300


class ConsulUnreachableError(AutopilotError):
    """Consul gave no answer: connection refused, broken off, or no answer in time."""


class ConsulRefusedError(AutopilotError):
    """Consul answered with an error, or the answer is not one of Consul's."""


class NotRegisteredError(ConsulRefusedError):
    """The agent does not know the service or the check."""


@contextmanager
def reject_malformed_answers() -> Iterator[None]:
    """Turn errors of the code that reads an answer into ConsulRefusedError.

    A load balancer's error page may come with status 200, so no answer has the expected shape for certain.

    Raises:
        ConsulRefusedError: The answer does not have the shape that the code expects.
    """
    try:
        yield
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        raise ConsulRefusedError(f"no answer of Consul: {error}"[:MAX_ERROR_CHARS]) from None
