"""Tell the changes of promotions from pass to pass, for the audit log."""

from __future__ import annotations

from collections.abc import Iterator

from autopilot_watchdog.core.audit_events import AuditEvent
from autopilot_watchdog.core.canary_state import find_promotion
from autopilot_watchdog.core.memory import GroupMemory, Memory, Promotion


def list_promotion_changes(before: Memory, after: Memory) -> Iterator[tuple[str, AuditEvent, str]]:
    """Yield sentence, event and digest for each promotion that has begun or is over."""
    for name, group in after.groups.items():
        former = find_promotion(before, name, with_pinned=True)
        new = find_promotion(after, name, with_pinned=True)
        if new is not None and (former is None or new.digest != former.digest):
            sentence = f"{new.digest} of {new.canary} becomes the digest of {group.image}: {new.reason}"
            yield sentence, AuditEvent.CANARY_PROMOTED, new.digest
        elif former is not None and new is None:
            cause = _explain_end(after, group, former)
            sentence = f"the promotion of {former.digest} of {former.canary} is over: {cause}"
            yield sentence, AuditEvent.CANARY_ENDED, former.digest


def _explain_end(memory: Memory, group: GroupMemory, promotion: Promotion) -> str:
    """Return a phrase about the end of a promotion that was in force."""
    stable = memory.get_image(group.image)
    if promotion.digest in {*stable.quarantine, *memory.get_image(promotion.canary).quarantine}:
        return "the digest is quarantined"
    if promotion.over != stable.newest:
        return f"{group.image} has another digest, {stable.newest}"
    return "it was taken back, or the configuration changed"
