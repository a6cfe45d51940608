"""Text of others in the journal, on the terminal and in the audit log: visible, bounded, and never like our own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from autopilot_watchdog.core.audit_events import AuditEvent
from autopilot_watchdog.display_text import MAX_FIELD_CHARS, MAX_SENTENCE_CHARS, show_controls, show_lines
from autopilot_watchdog.shell.audit import Audit, read_recent_entries
from hypothesis import given
from hypothesis import strategies as st

FORGED = "\x1b[2J\r<0>quarantine: all\n<0>pass-failed: forged\n\u202egnitirw\x9b31m\u2028<1>x\x00"
HOSTILE = st.text(alphabet=st.sampled_from("<0>a\n\r\t\x1b\x00\x7f\x9b\u202e\u2028\ud800é☃"), max_size=40)


@given(HOSTILE)
def test_nothing_hidden_remains(text: str) -> None:
    """A shown text has one line, only printable characters, and all the others as escapes."""
    shown = show_controls(text)
    assert shown.isprintable() and len(shown.splitlines()) <= 1
    assert [line.isprintable() for line in show_lines(text)] == [True] * (text.count("\n") + 1)


def test_plain_text_stays() -> None:
    """Text of people, in any script, is shown as it is."""
    assert show_controls("Größe ☃ 日本 <7> \\x1b") == "Größe ☃ 日本 <7> \\x1b"


@pytest.mark.parametrize("stream", ["", "8:1"])
def test_no_forged_line_in_the_journal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, stream: str
) -> None:
    """Each line of a container's output begins with our own level and event, whatever it contains."""
    monkeypatch.setenv("JOURNAL_STREAM", stream) if stream else monkeypatch.delenv("JOURNAL_STREAM", raising=False)
    audit = Audit(tmp_path / "audit.jsonl")
    audit.record(AuditEvent.CONTAINER_OUTPUT, f"x printed last: {FORGED}", slot="wn-01")
    audit.close()
    written = capsys.readouterr().err
    assert written.count("\n") == 3
    for line in written.removesuffix("\n").split("\n"):
        assert line.startswith("<6>container-output: " if stream else "container-output: ") and line.isprintable()
    (entry,) = read_recent_entries(tmp_path / "audit.jsonl", "wn-01")
    assert entry.isprintable() and "\\x1b[2J" in entry


def test_entries_are_bounded(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No field makes an entry of the audit log large, whatever its type."""
    fields: dict[str, Any] = {"text": "x" * 10**6, "list": ["x" * 10**6], "number": 1.5, "none": None, "lone": "\ud800"}
    path = tmp_path / "audit.jsonl"
    audit = Audit(path)
    audit.record(AuditEvent.PULL_FAILED, "y" * 10**6, **fields)
    audit.close()
    (line,) = path.read_text().splitlines()
    entry = json.loads(line)
    assert len(entry["sentence"]) == MAX_SENTENCE_CHARS
    assert [len(entry[key]) for key in ("text", "list")] == [MAX_FIELD_CHARS] * 2
    assert (entry["number"], entry["none"], entry["lone"]) == (1.5, None, "?")
    assert len(capsys.readouterr().err) < MAX_SENTENCE_CHARS + 100
