"""Write events of the core into the log."""

from __future__ import annotations

from autopilot.adapters.logs.log_messages import describe_event, get_event_id
from autopilot.adapters.logs.logger import Logger
from autopilot.machines.events import Event


class EventLog:
    """Listener that writes a line for each event that is worth one."""

    def __init__(self, log: Logger) -> None:
        self._log = log

    def on_event(self, event: Event) -> None:
        """Write the line of `event`, if it has one."""
        message = describe_event(event)
        if message is not None:
            self._log.log(message.level, get_event_id(type(event)), message.sentence, **message.fields)
