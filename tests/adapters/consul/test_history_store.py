"""The records of lives: their completion from a later view, and their expiry. Without any Consul."""

from __future__ import annotations

import base64
import json

import pytest

from autopilot.adapters.consul.history_store import complete_lives, parse_record, select_expired_folders


def build_life(name, started, **more):
    return {"life": name, "host": "h", "slot": "s", "started": started, **more}


def test_lives_without_an_end():
    """A life without an end is running or lost by its status in Consul, else it was killed before its successor's
    start.
    """
    records = [
        build_life("a", "01:00"),
        build_life("b", "02:00", ended="02:30", reason="lifetime"),
        build_life("c", "03:00"),
        build_life("d", "04:00", slot="other"),
        build_life("e", "05:00", slot="third"),
    ]
    completed = complete_lives(records, {"c": "alive", "d": "lost"})
    assert [one["reason"] for one in completed] == ["killed", "lifetime", "running", "lost", "killed"]
    assert [one.get("ended_before") for one in completed] == ["02:00", None, None, None, None]


def test_old_records_go():
    """Records are kept for twelve months, then their month is deleted as a whole."""
    january = 1_768_000_000.0  # 2026-01-09
    folders = [f"autopilot/lives/{month}/" for month in ("2024-12", "2025-01", "2025-02", "2026-01")]
    assert select_expired_folders(folders, january) == ["autopilot/lives/2024-12/"]


def encode_record(record):
    return base64.b64encode(json.dumps(record).encode()).decode()


@pytest.mark.parametrize(
    "value",
    [
        *(None, "", "no base64", 7, encode_record([]), encode_record({"life": "x"}), encode_record({"started": 5})),
        base64.b64encode(b"[" * 20_000).decode(),
        encode_record({"started": "2026", "life": "x" * 100_000}),
    ],
)
def test_garbage_hides_no_other_life(value):
    """A value that is no record of a life, or too large for one, is left out."""
    assert parse_record(value) is None


def test_long_fields_are_cut():
    """A field of a record that is longer than any of ours is cut, and one that is no text is left out."""
    record = parse_record(encode_record({"started": "2026", "reason": "x" * 10_000, "life": ["a"]}))
    assert record == {"started": "2026", "reason": "x" * 497 + "..."}
