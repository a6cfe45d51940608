"""Test that the records which the supervisor keeps are bounded, field by field."""

from __future__ import annotations

import json

from autopilot.app.container_info import detect_container_info
from autopilot.app.last_words import LastWords
from autopilot.bounded_text import MAX_FIELD_CHARS, MAX_SENTENCE_CHARS
from autopilot.cli.text_table import format_table
from autopilot.machines.actions import Outcome
from autopilot.timestamps import format_timestamp

MAX_RECORD_BYTES = 64 << 10  # history reads no more


def test_last_words_are_bounded(tmp_path):
    """Whatever the environment and the detail of the end hold, the last words stay small enough for their readers."""
    names = ("AUTOPILOT_SLOT", "AUTOPILOT_HOST", "AUTOPILOT_IMAGE_DIGEST", "AUTOPILOT_CONTAINER_NAME")
    info = detect_container_info(dict.fromkeys(names, "☃" * 100_000))
    words = LastWords(tmp_path, info, "life", lambda _: None)
    words.begin()
    words.finish(Outcome("config", "☃" * 1_000_000, 78))
    assert words.path.stat().st_size < MAX_RECORD_BYTES
    record = json.loads(words.path.read_text())
    assert len(record["detail"]) == MAX_SENTENCE_CHARS
    assert len(record["slot"]) == MAX_FIELD_CHARS
    assert record["ended"] <= format_timestamp(float(1 << 33))


def test_tables_show_control_characters():
    """A cell that another container wrote cannot act on the terminal or fake a line."""
    (line,) = format_table([["a\x1b[2J\nb", "c"]])
    assert "\x1b" not in line
    assert "\n" not in line
