"""The life of the node's tokens is compared with the life of the container, and again after each change."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autopilot.adapters.batch.conditions import Conditions
from autopilot.adapters.batch.htcondor.id_tokens import Token
from autopilot.adapters.batch.htcondor.token_watch import TokenWatch, describe_expiry_problem, find_expiry_problem
from autopilot.machines.cues import ConditionDetected, ConditionResolved, Cue
from tests.adapters.batch.htcondor.test_id_tokens import NOW, build_token

HOUR_S = 3600.0


class WatchedNode:
    """A token watch over a directory, with the reports it made; `rest` is the longest rest of the life."""

    def __init__(self, directory: Path, rest: float | None, source: Path | None = None) -> None:
        self.reports: list[Cue] = []
        self.rest = rest
        self.now = NOW
        self.watch = TokenWatch(Conditions(self.reports.append), lambda: self.rest, lambda: self.now)
        self.watch.begin(directory, None if source is None else str(source))

    def look(self) -> list[str]:
        """Observe, and return the new reports in short."""
        before = len(self.reports)
        self.watch.update(1.0)
        return [self._shorten(cue) for cue in self.reports[before:]]

    @staticmethod
    def _shorten(cue: Cue) -> str:
        assert isinstance(cue, ConditionDetected | ConditionResolved)
        return f"{cue.kind}: {cue.detail}" if isinstance(cue, ConditionDetected) else f"{cue.kind} is over"


def write_tokens(file: Path, *claims: dict[str, object]) -> None:
    """Replace a token file as an admin does: as a whole."""
    draft = file.with_name(".draft")
    draft.write_text("\n".join(build_token(**each) for each in claims))
    draft.replace(file)


@pytest.mark.parametrize(
    ("claims", "rest", "words"),
    [
        ([{"exp": NOW + 7200}], 7300.0, "expires in 2 h, at 2027-01-15T10:00:00Z, and this life may last 2 h"),
        ([{"exp": NOW + 7200}], 7200.0, None),
        ([{"exp": NOW + 7200}], None, None),
        ([{"exp": NOW + 7200}, {"exp": NOW + 9000}], 8000.0, None),  # the later one is enough
        ([{"exp": NOW + 7200}, {}], 8000.0, None),
        ([{"exp": NOW + 9000, "scope": "condor:/READ"}, {"exp": NOW + 60}], 8000.0, "expires in 1 min"),
        ([{}], 1e9, None),
        ([{"exp": NOW - 60}], 10.0, "expired 1 min ago, at 2027-01-15T07:59:00Z"),
        ([{"exp": NOW - 60}], None, "expired 1 min ago"),
        ([{"exp": NOW - 60}, {"exp": NOW + 60}], 10.0, None),
        ([], 10.0, None),
    ],
)
def test_a_token_lasts_as_long_as_the_life(
    tmp_path: Path, claims: list[dict[str, object]], rest: float | None, words: str | None
) -> None:
    """The last of the tokens that permit to join must outlive the life, and an expired one is always said."""
    write_tokens(tmp_path / "pool", *claims)
    said = WatchedNode(tmp_path, rest).look()
    assert said == [] if words is None else len(said) == 1 and words in said[0]


def test_a_renewed_token_ends_the_condition(tmp_path: Path) -> None:
    """The condition comes with a short token, is said again of another short one, and goes with a long one."""
    write_tokens(tmp_path / "pool", {"exp": NOW + 600})
    node = WatchedNode(tmp_path, HOUR_S)
    assert ["expires in 10 min" in line for line in node.look()] == [True]
    assert node.look() == []
    write_tokens(tmp_path / "pool", {"exp": NOW + 1200})
    assert ["expires in 20 min" in line for line in node.look()] == [True]
    write_tokens(tmp_path / "pool", {"exp": NOW + 7200})
    assert node.look() == ["token-expires is over"]
    write_tokens(tmp_path / "pool", {"exp": NOW + 300})
    assert ["expires in 5 min" in line for line in node.look()] == [True]


def test_a_longer_life_is_judged_again(tmp_path: Path) -> None:
    """A reload that makes the life longer than the token is said, and one that makes it shorter ends the condition."""
    write_tokens(tmp_path / "pool", {"exp": NOW + 7200})
    node = WatchedNode(tmp_path, HOUR_S)
    assert node.look() == []
    node.rest = 3 * HOUR_S
    assert ["may last 3 h" in line for line in node.look()] == [True]
    node.rest = HOUR_S
    assert node.look() == ["token-expires is over"]


def test_the_moment_of_the_expiry_is_said(tmp_path: Path) -> None:
    """A short token that expires in mid-life is reported again, as expired."""
    write_tokens(tmp_path / "pool", {"exp": NOW + 600})
    node = WatchedNode(tmp_path, HOUR_S)
    node.look()
    node.now = NOW + 660
    assert ["expired 1 min ago" in line for line in node.look()] == [True]
    assert node.look() == []


def test_a_replaced_source_is_copied_again(tmp_path: Path) -> None:
    """The token that the job spec names is copied after each change, and an empty source keeps the copy."""
    source, directory = tmp_path / "secret", tmp_path / "tokens.d"
    source.mkdir()
    directory.mkdir()
    write_tokens(directory / "pool", {"exp": NOW + 600})
    write_tokens(source / "pool", {"exp": NOW + 600})
    node = WatchedNode(directory, HOUR_S, source)
    assert len(node.look()) == 1
    write_tokens(source / "pool", {"exp": NOW + 7200})
    assert node.look() == ["token-expires is over"]
    assert (directory / "pool").read_bytes() == (source / "pool").read_bytes()
    (source / "pool").unlink()
    assert node.look() == []
    assert (directory / "pool").exists()


def test_a_source_that_is_half_written_is_not_copied(tmp_path: Path) -> None:
    """A good copy is never replaced by garbage; the condition ends when the source has a token, or is gone."""
    source, directory = tmp_path / "secret", tmp_path / "tokens.d"
    directory.mkdir()
    write_tokens(source, {"exp": NOW + 7200})
    write_tokens(directory / "secret", {"exp": NOW + 7200})
    good = (directory / "secret").read_bytes()
    node = WatchedNode(directory, HOUR_S, source)
    for garbage in (b"", good[:20]):
        source.write_bytes(garbage)
        assert ["token-not-copied" in line and "stay in use" in line for line in node.look()] == [True]
        assert (directory / "secret").read_bytes() == good
        source.unlink()
        assert node.look() == ["token-not-copied is over"]
    write_tokens(source, {"exp": NOW + 9000})
    assert node.look() == [] and (directory / "secret").read_bytes() == source.read_bytes()


def test_a_source_that_cannot_be_copied_is_said(tmp_path: Path) -> None:
    """The failed copy is a condition, tried again at each look until it works."""
    source, directory = tmp_path / "secret", tmp_path / "file" / "tokens.d"
    source.write_text(build_token())
    node = WatchedNode(directory, HOUR_S, source)
    (tmp_path / "file").write_text("in the way")
    write_tokens(source, {"exp": NOW + 7200})
    assert ["token-not-copied: htcondor.node.token: cannot copy" in line for line in node.look()] == [True]
    assert node.look() == []
    (tmp_path / "file").unlink()
    assert node.look() == ["token-not-copied is over"]
    assert (directory / "secret").exists()


@pytest.mark.parametrize("thing", ["garbage", "directory", "FIFO", "dangling link", "nothing", "huge"])
def test_an_unreadable_token_is_unknown(tmp_path: Path, thing: str) -> None:
    """Anything at the place of a token, or of its directory, causes neither a report nor an error."""
    file = tmp_path / "pool"
    match thing:
        case "garbage":
            file.write_bytes(bytes(range(256)))
        case "directory":
            file.mkdir()
        case "FIFO":
            os.mkfifo(file)
        case "dangling link":
            file.symlink_to("nowhere")
        case "huge":
            file.write_bytes(b"a.e30.c\n" * 100_000)
    assert WatchedNode(tmp_path, HOUR_S).look() == []
    assert WatchedNode(file, HOUR_S, file).look() == []


@given(st.lists(st.floats(NOW - 1e6, NOW + 1e6)), st.none() | st.floats(0, 1e6))
def test_the_last_token_decides(expiries: list[float], rest: float | None) -> None:
    """A problem is found exactly when the last token has expired or does not outlive the life."""
    tokens = [Token("pool", "worker", expires, None, frozenset()) for expires in expiries]
    problem = find_expiry_problem(tokens, NOW, rest)
    last = max(expiries, default=None)
    assert (problem is not None) == (last is not None and (last <= NOW or (rest is not None and last < NOW + rest)))
    if problem is not None:
        assert "the token in /tokens.d expire" in describe_expiry_problem(problem, Path("/tokens.d"), NOW, rest)
