"""Maintenance windows and the least age of a digest: a new one waits for both, known and urgent ones for neither."""

from __future__ import annotations

import datetime
import zoneinfo

import pytest
from autopilot_watchdog.config.rollout_windows import find_window_time, parse_windows
from autopilot_watchdog.core.memory import DigestRecord, ImageMemory, KnownGood, Memory
from autopilot_watchdog.core.rollout import compute_admission_time
from autopilot_watchdog.simulation.simulated_registry import SimulatedRegistry
from hypothesis import given
from hypothesis import strategies as st

from tests.watchdog.scenes import AT_ONCE, BEGIN, KEY, A, B, build_config, build_host, run_passes
from tests.watchdog.test_config import SLOT, get_error_text

ZURICH = "Europe/Zurich"
MONDAY = datetime.date(2026, 11, 30)
OFFICE = ["Mon-Fri 09:00-16:00"]


def compute_time(day: int, clock: str, zone: str = "UTC") -> float:
    """Return the epoch seconds of a time on a day after a Monday."""
    hour, minute = map(int, clock.split(":"))
    moment = datetime.datetime.combine(MONDAY + datetime.timedelta(days=day), datetime.time(hour, minute))
    return moment.replace(tzinfo=zoneinfo.ZoneInfo(zone)).timestamp()


@pytest.mark.parametrize(
    ("windows", "at", "due"),
    [
        (OFFICE, (0, "08:59"), (0, "09:00")),
        (OFFICE, (0, "09:00"), (0, "09:00")),
        (OFFICE, (0, "15:59"), (0, "15:59")),
        (OFFICE, (0, "16:00"), (1, "09:00")),
        (OFFICE, (4, "16:00"), (7, "09:00")),
        (["Sat,Sun 00:00-24:00"], (3, "12:00"), (5, "00:00")),
        (["Sat,Sun 00:00-24:00"], (6, "23:59"), (6, "23:59")),
        (["22:00-06:00"], (2, "05:00"), (2, "05:00")),
        (["22:00-06:00"], (2, "06:00"), (2, "22:00")),
        (["Sun 22:00-06:00"], (0, "05:00"), (0, "05:00")),
        (["Sun 22:00-06:00"], (1, "05:00"), (6, "22:00")),
        (["Fri-Mon 10:00-11:00"], (1, "10:30"), (4, "10:00")),
        (["Mon 10:00-11:00"], (0, "11:00"), (7, "10:00")),
        (["Mon 10:00-11:00", "Wed 08:00-08:30"], (0, "11:00"), (2, "08:00")),
    ],
)
@pytest.mark.parametrize("zone", ["UTC", ZURICH])
def test_next_time_in_a_window(windows: list[str], at: tuple[int, str], due: tuple[int, str], zone: str) -> None:
    """The next time in a window is now inside of one, and else the next beginning, by the clock of the zone."""
    assert find_window_time(parse_windows(windows), zone, compute_time(*at, zone)) == compute_time(*due, zone)


WINDOWS = st.builds(
    "{}-{} {:02}:{:02}-{:02}:30".format,
    st.sampled_from(["Mon", "Thu"]),
    st.sampled_from(["Tue", "Sat"]),
    st.integers(0, 23),
    st.sampled_from([0, 15]),
    st.integers(0, 23),
)


@given(st.lists(WINDOWS, min_size=1, max_size=3), st.integers(0, 400 * 24 * 60), st.sampled_from(["UTC", ZURICH]))
def test_time_in_a_window_stays(texts: list[str], minute: int, zone: str) -> None:
    """The next time is at `at` or within eight days after it, is its own next time, and none before it counts."""
    windows, at = parse_windows(texts), compute_time(0, "00:00") + 60.0 * minute
    due = find_window_time(windows, zone, at)
    assert at <= due <= at + 8 * 86400
    assert find_window_time(windows, zone, due) == due
    if due > at:
        assert find_window_time(windows, zone, (at + due) / 2) == due


@pytest.mark.parametrize(
    "window", ["09:00", "9:00-16:00", "Mon-16:00", "mon 09:00-16:00", "Mon- 09:00-16:00", "09:60-10:00", "09:00-09:00"]
)
def test_wrong_windows_are_refused(window: str) -> None:
    """A window that cannot be understood, and an unknown time zone, are problems of the configuration."""
    rollout = {"windows": [window], "time_zone": "Europe/Atlantis"}
    text = get_error_text({"slots": [SLOT], "rollout": rollout})
    assert "rollout.windows: must be windows such as" in text and "rollout.time_zone: must be a time zone" in text


def test_new_digest_waits_for_age_and_window() -> None:
    """A digest is taken when it is old enough and a window is open; a good or the only one at once."""
    rollout = {**AT_ONCE, "min_age": "2h", "windows": OFFICE, "time_zone": "UTC"}
    config = build_config(rollout=rollout)
    image = ImageMemory(records={B: DigestRecord(compute_time(0, "15:00"))}, known_good=(KnownGood(A, BEGIN),))

    def admit(changed: ImageMemory) -> float:
        return compute_admission_time(Memory(images={KEY: changed}), KEY, B, config, compute_time(0, "15:00"))

    assert admit(image) == compute_time(1, "09:00")
    assert admit(ImageMemory(records=image.records)) == 0.0
    early = {B: DigestRecord(compute_time(0, "08:00"))}
    assert admit(ImageMemory(records=early, known_good=image.known_good)) == compute_time(0, "15:00")
    urgent = {B: DigestRecord(compute_time(0, "15:00"), urgency="now")}
    assert admit(ImageMemory(records=urgent, known_good=image.known_good)) == 0.0


def test_host_takes_a_digest_in_its_window() -> None:
    """A slot that ends before the window gets the old digest, one that ends in it the new one."""
    begin = compute_time(0, "00:00")
    config = build_config(count=1, rollout={**AT_ONCE, "windows": OFFICE, "time_zone": "UTC"})
    host = build_host(SimulatedRegistry([(0, A), (begin + 600, B)]), config)
    run_passes(host, begin, 8 * 3600)
    for hours, digest in ((8, A), (10, B)):
        host.engine.end_container(host.engine.list_alive()[0].id, begin + hours * 3600, 0)
        run_passes(host, begin + hours * 3600, 3600)
        assert [container.digest for container in host.engine.list_alive()] == [digest], hours
