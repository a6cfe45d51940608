"""The site's program gets each chosen event, and delays and breaks nothing, whatever it does."""

from __future__ import annotations

import json
import time
from functools import partial
from pathlib import Path

import pytest
from autopilot_watchdog.cli.main import main
from autopilot_watchdog.config.config_model import NotifyConfig
from autopilot_watchdog.core.audit_events import AuditEvent
from autopilot_watchdog.core.image_troubles import STUCK_TRIES, find_stuck_digests
from autopilot_watchdog.core.memory import DigestRecord, ImageMemory
from autopilot_watchdog.shell import notifier
from autopilot_watchdog.shell.audit import Audit
from click.testing import CliRunner

from tests.watchdog.scenes import BEGIN, IMAGE, A, B
from tests.watchdog.site import eventually

pytestmark = pytest.mark.slow

DEFAULT_EVENTS = NotifyConfig(exec=("true",)).events


def open_audit(folder: Path, script: str, timeout: float = 30.0) -> Audit:
    """Open an audit log whose events a shell script is told."""
    return Audit(folder / "audit.jsonl", NotifyConfig(exec=("sh", "-c", script), timeout=timeout), "h1")


def read_events(folder: Path) -> list[str]:
    """Return the ids of the audit log's entries."""
    return [json.loads(line)["event"] for line in (folder / "audit.jsonl").read_text().splitlines()]


def has_a_line(path: Path) -> bool:
    """Return True if the file ends with a whole line."""
    return path.exists() and path.read_text().endswith("\n")


def test_chosen_events_arrive(tmp_path: Path) -> None:
    """The program gets the host and the whole entry of each chosen event, one after another, and no other event."""
    audit = open_audit(tmp_path, f"cat >> {tmp_path}/told")
    audit.record(AuditEvent.START, "started", slot="wn-01")
    for digest in (A, B):
        audit.record(AuditEvent.QUARANTINE, "it failed", "error", image=IMAGE, digest=digest)
    told = tmp_path / "told"
    eventually(lambda: told.exists() and told.read_text().count("\n") == 2, 20, "both were told")
    entries = [json.loads(line) for line in told.read_text().splitlines()]
    assert [entry["digest"] for entry in entries] == [A, B]
    assert (entries[0]["host"], entries[0]["event"], entries[0]["level"]) == ("h1", "quarantine", "error")


@pytest.mark.parametrize("script", ["sleep 1000", "exit 3", "yes; sleep 1000"])
def test_bad_program_is_told_and_ended(tmp_path: Path, script: str) -> None:
    """A program that hangs, fails or floods is ended in time; the audit log says so, and later events are told."""
    audit = open_audit(tmp_path, script, timeout=0.3)
    for _ in range(2):
        audit.record(AuditEvent.PROMOTE, "it is good")
    eventually(lambda: read_events(tmp_path).count("notify-failed") == 2, 20, "both failures are told")


def test_flood_is_dropped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """More events than may wait are dropped with a line; nobody waits for them."""
    monkeypatch.setattr(notifier, "MAX_WAITING_EVENTS", 3)
    gate = tmp_path / "gate"
    audit = open_audit(tmp_path, f"until test -e {gate}; do sleep 0.05; done")
    for _ in range(10):
        audit.record(AuditEvent.PROMOTE, "it is good")
    assert read_events(tmp_path).count("notify-failed") >= 6
    gate.touch()


def test_end_waits_for_the_events(tmp_path: Path) -> None:
    """At the end of a process the waiting events are told, within a limit."""
    done = tmp_path / "done"
    audit = open_audit(tmp_path, f"sleep 0.3; touch {done}")
    audit.record(AuditEvent.PROMOTE, "it is good")
    assert audit._notifier is not None
    audit._notifier.close()
    assert done.exists()
    hanging = open_audit(tmp_path, "sleep 1000", timeout=2.0)
    hanging.record(AuditEvent.PROMOTE, "it is good")
    assert hanging._notifier is not None
    began = time.monotonic()
    hanging._notifier.close(0.2)
    assert time.monotonic() - began < 2.0 + 60


def test_changed_program_is_told(tmp_path: Path) -> None:
    """After a change of the configuration the new program is told, under the new host's name; without one, nobody."""
    audit, log = open_audit(tmp_path, f"cat >> {tmp_path}/old"), tmp_path / "audit.jsonl"
    new = NotifyConfig(exec=("sh", "-c", f"cat >> {tmp_path}/new"))
    audit.record(AuditEvent.PROMOTE, "first")
    audit.use_settings(log, new, "h2")
    audit.use_settings(log, new, "h2")
    audit.record(AuditEvent.PROMOTE, "second")
    for name, host, sentence in (("old", "h1", "first"), ("new", "h2", "second")):
        told = tmp_path / name
        eventually(partial(has_a_line, told), 20, "it was told")
        (entry,) = [json.loads(line) for line in told.read_text().splitlines()]
        assert (entry["host"], entry["sentence"]) == (host, sentence)
    audit.use_settings(log, None, "h2")
    audit.record(AuditEvent.PROMOTE, "third")
    assert read_events(tmp_path) == ["promote"] * 3 and audit._notifier is None


def test_unknown_event_is_refused(tmp_path: Path) -> None:
    """An event that the audit log does not have is a problem of the configuration; the default ones are known."""
    assert set(DEFAULT_EVENTS) <= set(AuditEvent)
    path = tmp_path / "wd.json"
    slots = [{"name": "wn-NN", "image": IMAGE}]
    path.write_text(json.dumps({"slots": slots, "notify": {"exec": ["true"], "events": ["quarantined"]}}))
    done = CliRunner().invoke(main, ["check", "--config", str(path)])
    assert done.exit_code == 78 and 'notify.events: unknown event "quarantined"' in done.output


def test_stuck_pull_is_told_once() -> None:
    """A digest is stuck when its preparation has failed several times in a row: once, and not for an unwanted one."""

    def build(tries: int) -> ImageMemory:
        return ImageMemory(newest=B, records={B: DigestRecord(BEGIN, tries=tries), A: DigestRecord(BEGIN, tries=9)})

    steps = [list(find_stuck_digests(build(tries), build(tries + 1))) for tries in range(6)]
    assert [bool(step) for step in steps] == [tries + 1 == STUCK_TRIES for tries in range(6)]
    assert steps[STUCK_TRIES - 1] == [B]
