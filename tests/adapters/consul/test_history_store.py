"""The records of lives: their completion from a later view, and their expiry. Without any Consul."""

from __future__ import annotations

from autopilot.adapters.consul.history_store import complete_lives, select_expired_folders


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
