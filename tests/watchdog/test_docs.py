"""The reference names every key, reason code and verb."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

from autopilot_watchdog.cli.main import VERB_MODULES
from autopilot_watchdog.config import config_model
from autopilot_watchdog.core.reasons import REASON_CODES

TEXT = (Path(__file__).parents[2] / "docs/watchdog.md").read_text()
KINDS = [getattr(config_model, name) for name in config_model.__all__ if name != "Ring"]


def test_every_key_is_documented() -> None:
    """Each key of the configuration has a row with what it is for."""
    for kind in KINDS:
        for field in fields(kind):
            assert f"| `{field.name}` |" in TEXT and field.metadata["doc"] in TEXT, f"{kind.__name__}.{field.name}"


def test_every_code_and_verb_is_documented() -> None:
    """Each reason code and each verb is named."""
    for word in [*REASON_CODES, *VERB_MODULES]:
        assert f"`{word}" in TEXT or f"`{word}`" in TEXT or f" {word}" in TEXT, word
