"""Tell the changes of promotions from pass to pass, for the audit log."""

from __future__ import annotations

from collections.abc import Iterator

from autopilot_watchdog.core.audit_events import AuditEvent
from autopilot_watchdog.core.canary_state import find_promotion
from autopilot_watchdog.core.memory import GroupMemory, Memory


def list_promotion_changes(before: Memory, after: Memory) -> Iterator[tuple[str, AuditEvent, str]]:
    """Yield sentence, event and digest for each promotion that has begun or is over."""
    for name, group in after.groups.items():
        former, new = before.groups.get(name, GroupMemory()).promotion, group.promotion
        if new.digest and new.digest != former.digest:
            sentence = f"{new.digest} of {group.canary} becomes the digest of {group.image}: {new.reason}"
            yield sentence, AuditEvent.CANARY_PROMOTED, new.digest
        elif find_promotion(before, name) is not None and find_promotion(after, name) is None:
            sentence = (
                f"the promotion of {former.digest} of {group.canary} is over: the tag moved, or it is quarantined"
            )
            yield sentence, AuditEvent.CANARY_ENDED, former.digest
