"""Write events of the core into the log."""

from __future__ import annotations

from autopilot.adapters.logs.log_messages import describe_event, get_event_id
from autopilot.adapters.logs.logger import Logger
from autopilot.machines.events import Event, JobExited


class EventLog:
    """Listener that writes a line for each event that is worth one."""

    def __init__(self, log: Logger, *, containerpilot: bool = False) -> None:
        """Create the listener.

        Args:
            log: The log.
            containerpilot: Write the failure of a job at ContainerPilot's level, which is ERROR.
        """
        self._log, self._containerpilot = log, containerpilot

    def on_event(self, event: Event) -> None:
        """Write the line of `event`, if it has one."""
        message = describe_event(event)
        if message is not None:
            is_failure = isinstance(event, JobExited) and message.level == "warning"
            level = "error" if is_failure and self._containerpilot else message.level
            self._log.log(level, get_event_id(type(event)), message.sentence, **message.fields)
