"""The pure parts of the access point, and its claim of the spool: no HTCondor runs here."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from dataclasses import replace
from itertools import product
from pathlib import Path
from unittest.mock import Mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autopilot.adapters.batch.htcondor.access_point.access_point_config import (
    LOCK_NAME,
    REFUSAL,
    AccessPointConfig,
    build_requirement,
    render_config,
)
from autopilot.adapters.batch.htcondor.access_point.queue_counts import QueueCounts, count_unmade_jobs, parse_totals
from autopilot.adapters.batch.htcondor.access_point.queue_drain import (
    QueueDrainState,
    QueueDrainStep,
    apply_counts,
    apply_refusal,
    compute_pause,
)
from autopilot.adapters.batch.htcondor.access_point.spool_claim import (
    SpoolClaim,
    SpoolRecord,
    describe_holder,
    find_mount,
    find_name_problem,
    find_owner_problem,
    find_volume_problem,
    parse_record,
)
from autopilot.adapters.batch.htcondor.node_config import InvalidSettingError

EMPTY = QueueCounts({}, 0)
RECORD = SpoolRecord(name="ap@pool", life="0123456789abcdef", host="here", since=0.0)

# --- the configuration ---


def test_configuration_keeps_name_and_spool() -> None:
    """The schedd gets its name and its spool, condor_preen leaves the lock alone, and the site's settings come last."""
    config = AccessPointConfig(condor_host="cm.pool", name="ap@pool", spool="/spool", domain="pool")
    lines = render_config(config, {"SPOOL": "/other"}).splitlines()
    assert {"use ROLE: Submit", "CONDOR_HOST = cm.pool", "SCHEDD_NAME = ap@pool", "SPOOL = /spool"} <= set(lines)
    assert f"VALID_SPOOL_FILES = $(VALID_SPOOL_FILES) {LOCK_NAME}" in lines
    assert lines[-1] == "SPOOL = /other"


def test_refusal_comes_after_the_settings() -> None:
    """While the queue is drained, new jobs are refused with a sentence, whatever the site's settings are."""
    for refuses_all, requirement in ((False, "QDate < 1000 || DAGManJobId =!= undefined"), (True, "false")):
        asked = build_requirement(1000, refuses_all=refuses_all)
        config = AccessPointConfig(condor_host=None, name=None, spool=None, requirement=asked)
        lines = render_config(config, {"SUBMIT_REQUIREMENT_NAMES": "Site"}).splitlines()
        assert lines[-3:] == [
            "SUBMIT_REQUIREMENT_NAMES = $(SUBMIT_REQUIREMENT_NAMES) AutopilotDrain",
            f"SUBMIT_REQUIREMENT_AutopilotDrain = {requirement}",
            f'SUBMIT_REQUIREMENT_AutopilotDrain_REASON = "{REFUSAL}"',
        ]


def test_setting_of_two_lines_is_refused() -> None:
    """A value with a line end cannot smuggle in another setting."""
    config = AccessPointConfig(condor_host=None, name="ap@pool\nALLOW_WRITE = *", spool=None)
    with pytest.raises(InvalidSettingError):
        render_config(config, {})


# --- the queue ---


def build_totals(**counts: int) -> str:
    return json.dumps([{"MyType": "Summary", **{f"Allusers{name}": count for name, count in counts.items()}}])


def test_totals_of_all_universes() -> None:
    """The jobs of the scheduler universe, which HTCondor counts apart, count as all others do."""
    counts = parse_totals(build_totals(Jobs=3, Running=2, Held=1, SchedulerJobs=1, SchedulerRunning=1))
    assert counts is not None
    assert (counts.total, counts.by_state["running"], counts.by_state["held"]) == (4, 3, 1)
    assert counts.describe() == "3 running, 1 held" and not counts.is_empty


@pytest.mark.parametrize(
    "output", ["", "[]", "{", "[1]", '[{"Jobs": 0}]', '[{"AllusersJobs": "0"}]', "condor_q: error"]
)
def test_no_totals(output: str) -> None:
    """An answer without counts is no answer, and never an empty queue."""
    assert parse_totals(output) is None


@pytest.mark.parametrize(
    ("factory", "unmade"),
    [
        ({"TotalSubmitProcs": 3, "JobMaterializeNextProcId": 1}, 2),
        ({"TotalSubmitProcs": 3, "JobMaterializeNextProcId": 1, "JobFactoryPaused": 1}, 2),  # held: it may go on
        ({"TotalSubmitProcs": 3, "JobMaterializeNextProcId": 1, "JobFactoryPaused": 3}, 0),  # its cluster was removed
        ({"TotalSubmitProcs": 3, "JobMaterializeNextProcId": 3, "JobFactoryPaused": 2}, 0),  # all are made
        ({"TotalSubmitProcs": "3"}, 0),
    ],
)
def test_jobs_still_to_be_made(factory: dict[str, object], unmade: int) -> None:
    """A submit file with max_materialize keeps the queue from being empty until its last job is made."""
    assert count_unmade_jobs(json.dumps([factory, factory])) == 2 * unmade
    assert QueueCounts({}, 0, unmade).is_empty is (unmade == 0)


def test_no_factories() -> None:
    """Without factories condor_q prints nothing; anything that is no list is no answer."""
    assert count_unmade_jobs("") == 0
    assert count_unmade_jobs("error") is None


@pytest.mark.parametrize(
    ("before", "after"), [("WARNING: a file is empty\n", ""), ("", "\nWarning: late"), ("Reading [x]\n\n", "\n")]
)
def test_warnings_around_an_answer(before: str, after: str) -> None:
    """Lines that a tool writes beside its JSON do not make the queue unreadable."""
    factory = json.dumps([{"TotalSubmitProcs": 3, "JobMaterializeNextProcId": 1}], indent=1)
    assert count_unmade_jobs(f"{before}{factory}{after}") == 2
    counts = parse_totals(f"{before}{build_totals(Jobs=3)}{after}")
    assert counts is not None and counts.total == 3
    assert count_unmade_jobs("WARNING: a file is empty\n\n") == 0
    assert parse_totals("WARNING: a file is empty\n") is None


# --- the drain ---


@given(st.lists(st.one_of(st.booleans(), st.sampled_from([None, EMPTY, QueueCounts({"idle": 1}, 1)])), max_size=30))
def test_drain_is_done_only_after_two_empty_looks_while_every_job_is_refused(
    looks: list[bool | QueueCounts | None],
) -> None:
    """However looks at the configuration and at the queue follow each other, the drain never ends early or late."""
    state, phase, in_a_row = QueueDrainState(), "open", 0
    for look in looks:
        if isinstance(look, bool):
            state = apply_refusal(state, is_refusing=look)
            if look:
                phase = {"open": "refusing", "closing": "closed"}.get(phase, phase)
        else:
            state = apply_counts(state, look)
            if phase == "refusing" and look == EMPTY:
                phase = "closing"
            elif phase == "closed":
                in_a_row = in_a_row + 1 if look == EMPTY else 0
                if look not in (None, EMPTY):
                    phase = "open"  # a job came in between; under the first refusal it can finish
        assert (state.step is QueueDrainStep.EMPTY) is (in_a_row >= 2)
        if state.step is QueueDrainStep.EMPTY:
            break


def test_pause_of_the_drain() -> None:
    """Attempts to refuse grow apart up to 30 s, a second look comes after a second, others after the interval."""
    for step in (QueueDrainStep.REFUSING, QueueDrainStep.CLOSING):
        tries = [compute_pause(QueueDrainState(step, tries), 5.0, 0.5) for tries in (0, 1, 2, 3, 20)]
        assert tries == [0.0, 1.0, 2.0, 4.0, 30.0]
    closed = QueueDrainState(QueueDrainStep.CLOSED)
    assert [compute_pause(apply_counts(closed, counts), 5.0, 0.5) for counts in (None, EMPTY)] == [5.0, 1.0]


# --- the spool ---


def test_spool_is_claimed_by_one_life(tmp_path: Path) -> None:
    """A second claim of the same spool fails, names the holder, and succeeds once the first process has ended."""
    code = (
        "import sys; from pathlib import Path\n"
        "from autopilot.adapters.batch.htcondor.access_point.spool_claim import *\n"
        "claim = SpoolClaim()\n"
        "claim.try_take(Path(sys.argv[1]), SpoolRecord(name='ap@pool', life='first', host='there', since=0.0))\n"
        "print('claimed', flush=True); sys.stdin.read()\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == "claimed\n"
        claim = SpoolClaim()
        taken, other = claim.try_take(tmp_path, RECORD)
        assert not taken and other is not None and other.host == "there"
        assert "ap@pool on there, life first, since 1970-01-01" in describe_holder(tmp_path, other)
        holder.kill()
    assert claim.try_take(tmp_path, RECORD) == (True, other)
    assert claim.try_take(tmp_path, RECORD)[0], "a life keeps its claim"
    claim.release()
    assert parse_record((tmp_path / LOCK_NAME).read_bytes()) == RECORD


def test_spool_belongs_to_one_name(tmp_path: Path) -> None:
    """A schedd of another name does not get the queue, and the spool keeps the name that it had."""
    other = SpoolRecord(name="new@pool", life="x", host="here", since=1.0)
    claim = SpoolClaim()
    for record in (RECORD, other, RECORD):
        taken, before = claim.try_take(tmp_path, record)
        assert taken and before in (None, RECORD)
        claim.release()
    assert find_name_problem(tmp_path, "ap@pool", before) == ""
    assert 'set access_point.name to "ap@pool"' in find_name_problem(tmp_path, other.name, before)


def test_full_disk_keeps_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A claim whose record cannot be written leaves the record before, and a shorter record leaves no rest of it."""
    first = replace(RECORD, host="a-long-host-name")
    claim = SpoolClaim()
    claim.try_take(tmp_path, first)
    claim.release()
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", Mock(side_effect=OSError(errno.ENOSPC, "No space left on device")))
        assert claim.try_take(tmp_path, replace(first, since=9.0)) == (True, first), "nothing has to be written"
        claim.release()
        with pytest.raises(OSError, match="No space"):
            claim.try_take(tmp_path, RECORD)
        claim.release()
    assert parse_record((tmp_path / LOCK_NAME).read_bytes()) == first
    claim.try_take(tmp_path, RECORD)
    claim.release()
    assert parse_record((tmp_path / LOCK_NAME).read_bytes()) == RECORD


def test_lock_is_no_link(tmp_path: Path) -> None:
    """A link in the place of the lock, which the user condor may make, is not followed."""
    (tmp_path / LOCK_NAME).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic links"):
        SpoolClaim().try_take(tmp_path, RECORD)
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize(
    "data", [b"", b"{", b"[]", b"null", b'{"name": "x"}', b'{"name":1,"life":2,"host":3,"since":"x"}']
)
def test_damaged_record(data: bytes) -> None:
    """Any other content of the lock file means nothing."""
    assert parse_record(data) is None


def test_owner_of_the_spool(tmp_path: Path) -> None:
    """A spool of another uid than condor's in this image is told with both uids."""
    assert find_owner_problem(tmp_path, os.getuid()) == ""
    assert "has uid 12345 in this image" in find_owner_problem(tmp_path, 12345)


MOUNTINFO = """\
1 0 0:1 / / rw - overlay overlay rw,lowerdir=/l
2 1 0:2 / /proc rw - proc proc rw
3 1 8:1 /srv/ap /spool rw,relatime shared:1 - ext4 /dev/sda1 rw
4 1 0:3 / /ram rw - tmpfs tmpfs rw
5 1 0:4 /x /with\\040blank rw - nfs4 server:/x rw
"""


@pytest.mark.parametrize(
    ("path", "mount"),
    [
        ("/spool", ("/spool", "ext4")),
        ("/spool/queue", ("/spool", "ext4")),
        ("/spools", ("/", "overlay")),
        ("/ram/spool", ("/ram", "tmpfs")),
        ("/with blank/spool", ("/with blank", "nfs4")),
    ],
)
def test_mount_of_a_path(path: str, mount: tuple[str, str]) -> None:
    """The mount that holds a path is the longest one above it."""
    assert find_mount(path, MOUNTINFO) == mount


def test_volume() -> None:
    """A spool outlives the container on a mounted disk and on the root of a machine, not in an image or in memory."""
    kinds = {"overlay": False, "tmpfs": False, "ext4": True, "nfs4": True}
    for (kind, kept), is_container in product(kinds.items(), (True, False)):
        mounted = find_volume_problem(Path("/s"), f"1 0 0:1 / /s rw - {kind} x rw", is_container=is_container)
        assert (mounted == "") is kept
        root = find_volume_problem(Path("/s"), f"1 0 0:1 / / rw - {kind} x rw", is_container=is_container)
        assert (root == "") is (kept and not is_container)
    assert find_volume_problem(Path("/s"), "", is_container=True) == "", "an unreadable table is no reason to refuse"
