"""Read the urgency of a digest: its image's label, or the fleet's key in Consul."""

from __future__ import annotations

from autopilot_watchdog.core.memory import DigestRecord, Memory
from autopilot_watchdog.timestamps import parse_timestamp


def compute_drain_deadline(memory: Memory, record: DigestRecord) -> float | None:
    """Return the epoch seconds by which older containers should drain; None if the digest is not urgent.

    The image's label counts, else the fleet's key. A text that is neither "now" nor a date is ignored: a typing error
    must not drain a farm.
    """
    urgency = record.urgency or memory.urgency
    if not urgency:
        return None
    if urgency == "now":
        return record.first_seen
    try:
        return parse_timestamp(urgency)
    except ValueError:
        return None
