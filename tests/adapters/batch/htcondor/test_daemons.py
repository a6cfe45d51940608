"""HTCondor's processes, found by descent."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autopilot.adapters.batch.htcondor.daemons import Daemons, find_daemons, find_payloads
from autopilot.process.process_stat import parse_stat

OWN = 1


def find_in_rows(leader: int | None, *rows: tuple[int, int, str, str], uids: dict[int, int] | None = None) -> Daemons:
    """Rows of (pid, parent, name, state); processes are root's unless `uids` has them."""
    table = {pid: (name, state) for pid, _, name, state in rows}
    below = {parent: [pid for pid, above, *_ in rows if above == parent] for _, parent, *_ in rows}
    return find_daemons(
        leader, OWN, lambda pid: below.get(pid, []), table.get, lambda pid: ((uids or {}).get(pid, 0), 64)
    )


def test_a_whole_node() -> None:
    """The master, its startd, the startd's starters; a payload of that name does not count."""
    assert find_in_rows(
        5,
        (5, OWN, "condor_master", "S"),
        (6, 5, "condor_procd", "S"),
        (7, 5, "condor_startd", "S"),
        (8, 7, "condor_starter", "S"),
        (9, 8, "condor_starter", "R"),
        (10, 7, "condor_starter", "T"),
        (11, 5, "condor_shared_p", "T"),
    ) == Daemons(5, 7, (8, 10), frozenset({10, 11}), shared_port=11, procd=6)


def test_a_guarded_startd() -> None:
    """The startd is a child of the guard, and the guard one of condor_master, or of ours once the master died."""
    guard, startd, starter = (6, 5, "startd_guard", "T"), (7, 6, "condor_startd", "S"), (8, 7, "condor_starter", "S")
    found = find_in_rows(5, (5, OWN, "condor_master", "S"), guard, startd, starter)
    assert found == Daemons(5, 7, (8,), frozenset({6}), guard=6)
    assert find_in_rows(None, (6, OWN, "startd_guard", "S"), startd, starter) == Daemons(None, 7, (8,), guard=6)


def test_a_master_behind_a_wrapper() -> None:
    """`sh -c "condor_master -f"`: the job's process is the shell."""
    assert find_in_rows(5, (5, OWN, "sh", "S"), (6, 5, "condor_master", "S")).master == 6


def test_daemons_that_lost_their_master_are_ours() -> None:
    """After `kill -9` of the master, its startd is our child; after that of the startd, its starter is."""
    assert find_in_rows(None, (7, OWN, "condor_startd", "S"), (8, 7, "condor_starter", "S")) == Daemons(None, 7, (8,))
    assert find_in_rows(5, (5, OWN, "condor_master", "S"), (8, OWN, "condor_starter", "S")) == Daemons(5, None, (8,))


def test_an_orphan_of_a_payload_is_no_daemon() -> None:
    """A payload's orphan that calls itself startd or starter is none: it has not the uid of condor_master."""
    master, startd, starter = (
        (5, OWN, "condor_master", "S"),
        (7, 5, "condor_startd", "S"),
        (8, 7, "condor_starter", "S"),
    )
    fakes = [(90, OWN, "condor_startd", "S"), (91, OWN, "condor_starter", "S")]
    assert find_in_rows(5, master, startd, starter, *fakes, uids={90: 65534, 91: 65534}) == Daemons(5, 7, (8,))
    lost = (9, OWN, "condor_starter", "S")
    assert find_in_rows(5, master, startd, lost, *fakes, uids={90: 65534, 91: 65534}) == Daemons(5, 7, (9,))
    assert find_in_rows(5, master, lost, uids={5: 1000, 9: 1000}) == Daemons(5, None, (9,))
    assert find_in_rows(5, master, lost, uids={5: 0, 9: 64}) == Daemons(5, None, (9,))


def test_nothing_runs() -> None:
    """An empty table is an empty node."""
    assert find_in_rows(None) == Daemons()
    assert find_in_rows(5) == Daemons()


@given(st.text())
def test_no_stat_line_breaks_it(text: str) -> None:
    """A name may hold anything, brackets too."""
    parse_stat(text)


@pytest.mark.parametrize("name", ["condor_startd", "a) b (c", ")", "x (y) S 1"])
def test_a_stat_line_with_an_odd_name(name: str) -> None:
    """The last bracket ends the name."""
    assert parse_stat(f"12 ({name}) T 3 4 5") == (name, "T")


def test_payloads_are_the_living_starters_jobs(tmp_path: Path) -> None:
    """A directory whose starter is gone is no payload; a starter without an ad becomes one at the second look."""
    for pid, text in (
        (8, 'GlobalJobId = "s#1.0#9"\nIwd = "/x"\n'),
        (11, "ClusterId = 4\nProcId = 2\n"),
        (99, "ClusterId = 5\n"),
    ):
        (tmp_path / f"dir_{pid}").mkdir()
        (tmp_path / f"dir_{pid}" / ".job.ad").write_text(text)
    first, nameless = find_payloads(tmp_path, (8, 11, 12), {}, frozenset())
    assert first == {8: "s#1.0#9", 11: "4.2"}
    assert nameless == {12}
    (tmp_path / "dir_8" / ".job.ad").unlink()  # read once, remembered
    second, nameless = find_payloads(tmp_path, (8, 12), first, nameless)
    assert second == {8: "s#1.0#9", 12: "starter-12"}
    (tmp_path / "dir_12").mkdir()
    (tmp_path / "dir_12" / ".job.ad").write_text("ClusterId = 6\nProcId = 0\n")
    assert find_payloads(tmp_path, (12,), second, nameless) == ({12: "6.0"}, frozenset())


def write_ad(text: bytes) -> Callable[[Path], object]:
    return lambda place: place.write_bytes(text)


@pytest.mark.parametrize(
    "plant",
    [
        write_ad(b"ClusterId = " + b"9" * 5000 + b"\nProcId = 0\n"),
        write_ad(b"ClusterId = 1e400\nProcId = 0\n"),
        write_ad(b"ClusterId = " + "\u0661".encode() + b"\nProcId = 0\n"),
        write_ad(b'GlobalJobId = "' + b"x" * 300 + b'"\n'),
        write_ad(b'GlobalJobId = "a\x1b[2Jb"\n'),
        write_ad(b"\xff" * 100),
        write_ad(b"A = " + b"(" * 500_000),
        os.mkfifo,
        Path.mkdir,
        lambda place: place.symlink_to("/dev/zero"),
        lambda place: place.symlink_to("/etc/passwd"),
    ],
)
def test_an_ad_that_the_job_wrote_is_a_nameless_payload(tmp_path: Path, plant: Callable[[Path], object]) -> None:
    """Whatever a job puts in the place of its ad: its starter counts as a payload, without a name of its choice."""
    (tmp_path / "dir_7").mkdir()
    plant(tmp_path / "dir_7/.job.ad")
    names, nameless = find_payloads(tmp_path, [7], {}, frozenset())
    assert names == {} and nameless == {7}
    assert find_payloads(tmp_path, [7], names, nameless)[0] == {7: "starter-7"}
