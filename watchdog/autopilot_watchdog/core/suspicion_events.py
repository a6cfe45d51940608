"""Tell the changes of suspicions against digests as events of the audit log."""

from __future__ import annotations

from collections.abc import Iterator

from autopilot_watchdog.core.audit_events import AuditEvent
from autopilot_watchdog.core.digest_rates import SuspicionVerdict
from autopilot_watchdog.core.memory import ImageMemory

EVENTS = {
    SuspicionVerdict.OPEN: (AuditEvent.SUSPECT, ""),
    SuspicionVerdict.CONFIRMED: (AuditEvent.SUSPICION_CONFIRMED, "; that one has done well since"),
    SuspicionVerdict.LIFTED: (AuditEvent.SUSPICION_LIFTED, "; that one has done no better since"),
}


def list_suspicion_changes(before: ImageMemory, after: ImageMemory) -> Iterator[tuple[AuditEvent, str, str]]:
    """Yield event, digest and sentence of each suspicion that is new or has another verdict."""
    for digest, record in after.records.items():
        known = before.records[digest].suspicions if digest in before.records else {}
        for criterion, found in record.suspicions.items():
            if criterion in known and known[criterion].verdict == found.verdict:
                continue
            event, note = EVENTS[SuspicionVerdict(found.verdict)]
            yield event, digest, f"{digest} is suspect: {found.sentence}{note}"
