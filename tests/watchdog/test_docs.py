"""The reference names every key, reason code, audit event and verb."""

from __future__ import annotations

import typing
from dataclasses import fields
from pathlib import Path

from autopilot_watchdog.cli.main import VERB_MODULES
from autopilot_watchdog.config import config_model
from autopilot_watchdog.core.audit_events import ACTION_EVENTS, AUDIT_EVENTS, AuditEvent
from autopilot_watchdog.core.reasons import REASON_CODES
from autopilot_watchdog.core.slot_actions import Action

TEXT = (Path(__file__).parents[2] / "docs/watchdog.md").read_text()
KINDS = [getattr(config_model, name) for name in config_model.__all__ if name != "Ring"]


def test_every_key_is_documented() -> None:
    """Every key of the configuration has a row with its purpose."""
    for kind in KINDS:
        for field in fields(kind):
            assert f"| `{field.name}` |" in TEXT and field.metadata["doc"] in TEXT, f"{kind.__name__}.{field.name}"


def test_every_code_and_verb_is_documented() -> None:
    """Every reason code and every verb is named."""
    for word in [*REASON_CODES, *VERB_MODULES]:
        assert f"`{word}" in TEXT or f"`{word}`" in TEXT or f" {word}" in TEXT, word


def test_every_event_is_documented() -> None:
    """Every event of the audit log has a row with its meaning, and every action has its events."""
    assert set(AUDIT_EVENTS) == set(AuditEvent)
    for event, meaning in AUDIT_EVENTS.items():
        assert f"| `{event}` | {meaning} |" in TEXT, event
    assert set(ACTION_EVENTS) == set(typing.get_args(Action))
