"""The ends of payloads are read from the startd's history, each once, whatever becomes of the file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from autopilot.adapters.batch.htcondor import payload_history
from autopilot.adapters.batch.htcondor.payload_history import FinishedPayload, PayloadHistory
from lab.pool import Pool
from tests.adapters.batch.htcondor.conftest import Worker

BY_ITSELF = 'ToE = [ How = "OF_ITS_OWN_ACCORD"; Who = "itself"; When = 1795885383; HowCode = 0; ExitCode = 3 ]'
REMOVED = 'ToE = [ How = "DEACTIVATE_CLAIM"; Who = "PID 1"; When = 1795885383; HowCode = 1 ]'


def format_ad(number: int, end: str = "ExitBySignal = false\nExitCode = 0", duration: float = 0.5) -> str:
    """Write an ad as HTCondor 23.9.6 does; only the attributes that are used."""
    name = f"manager.pool#{number}.0#1795885380"
    banner = f'*** Offset = 0 ClusterId = {number} ProcId = 0 Owner = "alice" CompletionDate = 1795885382'
    body = f'Arguments = "-c exit"\n{end}\nGlobalJobId = "{name}"\nJobDuration = {duration}'
    return f"{body}\n{banner}\n"


def build_payload(number: int, *, failed_fast: bool = False) -> FinishedPayload:
    """Build the payload of an ad."""
    return FinishedPayload(f"manager.pool#{number}.0#1795885380", failed_fast)


@pytest.mark.parametrize(
    ("end", "duration", "failed_fast"),
    [
        ("ExitBySignal = false\nExitCode = 0", 0.5, False),
        (f"ExitBySignal = false\nExitCode = 3\n{BY_ITSELF}", 0.5, True),
        ("ExitBySignal = true\nExitSignal = 9", 59.9, True),
        ("ExitBySignal = false\nExitCode = 3", 60.0, False),
        (f"ExitBySignal = true\nExitSignal = 15\n{REMOVED}", 0.5, None),
        ("ExitBySignal = false", 0.5, None),
        ('ExitBySignal = false\nExitCode = "3"', 0.5, None),
    ],
)
def test_an_end_is_judged_by_its_ad(end: str, duration: float, failed_fast: bool | None) -> None:
    """Status and duration tell a fast failure; the ad of a payload that was removed, or has no end, tells nothing."""
    found = list(payload_history.parse_history(format_ad(1, end, duration)))
    assert found == ([] if failed_fast is None else [build_payload(1, failed_fast=failed_fast)])


def test_each_end_is_told_once(tmp_path: Path) -> None:
    """Ends from before the first look are not told; an ad that is half written is told when it is whole."""
    path, history = tmp_path / "startd_history", PayloadHistory()
    path.write_text(format_ad(1))
    assert history.read_new(path) == ()
    half = len(format_ad(3)) - 20
    with path.open("a") as file:
        file.write(format_ad(2) + format_ad(3)[:half])
    assert history.read_new(path) == (build_payload(2),)
    assert history.read_new(path) == ()
    with path.open("a") as file:
        file.write(format_ad(3)[half:])
    assert history.read_new(path) == (build_payload(3),)


def test_a_file_that_is_new_is_read_from_its_begin(tmp_path: Path) -> None:
    """A history that appears, is rotated or is cut loses no end that is written after that."""
    path, history = tmp_path / "startd_history", PayloadHistory()
    assert history.read_new(path) == ()
    path.write_text(format_ad(1) + format_ad(2))
    assert history.read_new(path) == (build_payload(1), build_payload(2))
    path.rename(tmp_path / "startd_history.old")
    path.write_text(format_ad(3))
    assert history.read_new(path) == (build_payload(3),)
    path.write_text("")
    assert history.read_new(path) == ()
    path.write_text(format_ad(4))
    assert history.read_new(path) == (build_payload(4),)


def test_reading_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a flood only the end is read, an ad without end is given up, and nothing but a regular file is opened."""
    monkeypatch.setattr(payload_history, "MAX_READ_BYTES", 2 * len(format_ad(1)))
    monkeypatch.setattr(payload_history, "MAX_AD_BYTES", 100)
    path, history = tmp_path / "startd_history", PayloadHistory()
    history.read_new(path)
    path.write_text("".join(format_ad(number) for number in range(1, 10)))
    assert history.read_new(path) == (build_payload(8), build_payload(9))
    with path.open("a") as file:
        file.write("A = 1\n" * 100)
    assert history.read_new(path) == ()
    assert len(history._rest) <= 100
    path.unlink()
    path.symlink_to("/etc/passwd")
    assert history.read_new(path) == ()


@pytest.mark.real("root", "htcondor")
def test_a_real_startd_tells_the_ends(pool: Pool, worker: Callable[..., Worker]) -> None:
    """The node reports the payloads of a real pool that ended: in order, with a status, and by a signal."""
    node = worker(constants={"payload_history.FAST_FAILURE_S": 3600.0})  # a minute may pass on a busy machine
    node.wait_until_joined()
    node.wait_for_report("PayloadsObserved", 60)  # the history is followed from the first observation on
    scripts = {"exit 0": False, "exit 3": True, "kill -9 $$": True}
    jobs = {pool.submit(script=script): failed for script, failed in scripts.items()}

    def list_ends(key: str) -> set[str]:
        return {name.split("#")[1] for one in node.list_reports("PayloadEndsFound") for name in one[key]}

    pool.wait_until(lambda: list_ends("payloads") == set(jobs), 120, "all ends are told")
    assert list_ends("failed_fast") == {job for job, failed in jobs.items() if failed}
