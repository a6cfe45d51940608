"""Runs at times of the calendar, under a virtual wall clock and in real time zones."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import TZPATH, ZoneInfo

import pytest

from autopilot.machines import actions, cues, events
from autopilot.runtime import cron_times
from autopilot.runtime.cron_times import find_next_time
from autopilot.runtime.simulated_world import Behaviour, SimulatedWorld
from autopilot.spec import time_zones
from autopilot.spec.plan import When
from tests.machines.plans import build_job, build_plan, get_finish

BERLIN = "Europe/Berlin"
HOUR = 3600.0


def parse_local_time(text, zone=BERLIN):
    """Seconds since the epoch of a local time."""
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp()


def build_world(cron, start, *, takes=1.0, zone=BERLIN, **fields):
    when = When(cron=cron, timezone=zone)
    behaviour = Behaviour(run_duration=lambda rng: takes)
    return SimulatedWorld(
        build_plan(build_job("a", when=when, restarts=None, **fields)),
        {"a": behaviour},
        wall_offset=parse_local_time(start, zone),
    )


def list_starts(world, zone=BERLIN):
    """Return the starts of the job, as a clock on the wall showed them; the lateness is some milliseconds."""
    moments = [datetime.fromtimestamp(t + world.wall_offset, ZoneInfo(zone)) for t in world.list_spawn_times("a")]
    assert all(moment.microsecond < 10_000 for moment in moments)
    return [f"{moment:%a %H:%M:%S%z}" for moment in moments]


def test_every_five_minutes():
    """A job runs at the times its expression names, and not at startup."""
    world = build_world("*/5 * * * *", "2026-06-01T11:58:20").run(HOUR / 4)
    assert [start[4:12] for start in list_starts(world)] == ["12:00:00", "12:05:00", "12:10:00"]


def test_seconds_first():
    """Six fields begin with the seconds."""
    world = build_world("*/20 * * * * *", "2026-06-01T12:00:01").run(60)
    assert [start[4:12] for start in list_starts(world)] == ["12:00:20", "12:00:40", "12:01:00"]


def test_long_wait_in_few_looks():
    """A job that runs once a week looks at the clock once a minute, no more, and runs on time."""
    world = build_world("0 3 * * SUN", "2026-06-01T03:00:00").run(7 * 24 * HOUR)
    assert list_starts(world) == ["Sun 03:00:00+0200"]


def test_winter_and_summer():
    """A daily time stays the same on the wall over both changes of the clock."""
    for change in ("2026-03-28T12:00:00", "2026-10-24T12:00:00"):
        world = build_world("30 6 * * *", change).run(48 * HOUR)
        assert [start[4:12] for start in list_starts(world)] == ["06:30:00", "06:30:00"]


def test_time_that_does_not_exist():
    """A daily time in the hour that spring leaves out is run when that hour would have begun; no day is lost."""
    world = build_world("30 2 * * *", "2026-03-28T12:00:00").run(48 * HOUR)
    assert list_starts(world) == ["Sun 03:00:00+0200", "Mon 02:30:00+0200"]


def test_time_that_comes_twice():
    """A daily time in the hour that autumn repeats is run once."""
    world = build_world("30 2 * * *", "2026-10-24T12:00:00").run(48 * HOUR)
    assert list_starts(world) == ["Sun 02:30:00+0200", "Mon 02:30:00+0100"]


def test_every_quarter_over_the_change():
    """An expression that starts with * goes on in real time: 100 quarters in the day of 25 hours."""
    world = build_world("*/15 * * * *", "2026-10-25T00:00:00").run(25 * HOUR + 1)
    assert len(list_starts(world)) == 100


def test_still_running():
    """Times that come while the job runs are skipped and counted; two runs never overlap."""
    world = build_world("* * * * *", "2026-06-01T12:00:30", takes=150.0).run(10 * 60)
    assert [start[4:12] for start in list_starts(world)] == ["12:01:00", "12:04:00", "12:07:00", "12:10:00"]
    assert {(event.count, event.late) for _, event in world.events if isinstance(event, events.RunsSkipped)} == {
        (2, False)
    }


def test_clock_set_forward():
    """Times the clock was set past are skipped and counted, and the next one is run."""
    world = build_world("0 * * * *", "2026-06-01T11:30:00").run(60)
    world.wall_offset += 2 * HOUR + 600  # 13:41
    world.run(HOUR)
    assert [start[4:12] for start in list_starts(world)] == ["14:00:00"]
    assert [event for _, event in world.events if isinstance(event, events.RunsSkipped)] == [
        events.RunsSkipped("a", 2, True)
    ]


def test_clock_set_forward_a_little():
    """A time that the clock passed less than a minute ago is run."""
    world = build_world("0 * * * *", "2026-06-01T11:59:00").run(30)
    world.wall_offset += 50  # 12:00:20
    world.run(60)
    assert len(world.list_spawn_times("a")) == 1 and not world.list_times(events.RunsSkipped, "a")


def test_clock_set_back():
    """After a clock was set back by an hour no time is run twice."""
    world = build_world("0 * * * *", "2026-06-01T11:30:00").run(HOUR)  # ran at 12:00
    world.wall_offset -= HOUR  # 11:30 again
    world.run(2 * HOUR)
    assert len(world.list_spawn_times("a")) == 1
    world.run(2.75 * HOUR)
    assert [start[4:12] for start in list_starts(world)][1:] == ["13:00:00"]


def test_clock_was_years_ahead():
    """A clock that was years ahead and is put right does not keep a job waiting for years."""
    world = build_world("0 * * * *", "2031-06-01T11:30:00").run(HOUR)
    world.wall_offset = parse_local_time("2026-06-01T11:30:00") - world.now
    world.run(world.now + HOUR)
    assert len(world.list_spawn_times("a")) == 2


def test_clock_set_during_a_run():
    """A clock that is set while the job runs neither repeats nor loses its next time."""
    world = build_world("0 * * * *", "2026-06-01T11:59:00", takes=600.0).run(300)
    world.wall_offset -= 1800  # 11:34
    world.run(2 * HOUR)
    assert [start[4:12] for start in list_starts(world)][1:] == ["13:00:00"]


def test_far_jump_is_counted_to_a_bound():
    """A jump over a year of minutes costs a bounded count."""
    world = build_world("* * * * *", "2026-06-01T12:00:30").run(10)
    world.wall_offset += timedelta(days=365).total_seconds()
    world.run(200)
    (skipped,) = (event for _, event in world.events if isinstance(event, events.RunsSkipped))
    assert skipped.count == 1001 and len(world.list_spawn_times("a")) >= 2


def test_restarts_count_further_runs():
    """`restarts` says how many more runs there are, as with an interval; then the job is over."""
    when = When(cron="* * * * *", timezone="UTC")
    world = SimulatedWorld(
        build_plan(build_job("a", when=when, restarts=2)), {"a": Behaviour(run_duration=lambda rng: 1.0)}
    ).run(3600)
    assert len(world.list_spawn_times("a")) == 3
    assert get_finish(world).outcome == actions.Outcome("completed", "all jobs are over", 0)


def test_started_by_hand():
    """A run that a person asks for between two times takes none of them away."""
    world = build_world("0 * * * *", "2026-06-01T11:30:00").run(60)
    world.feed(cues.RequestReceived("start-job", "somebody", job="a"))
    world.run(HOUR)
    assert [start[4:12] for start in list_starts(world)] == ["11:31:00", "12:00:00"]


def test_stop_while_waiting():
    """A job that waits for its time holds up no stop."""
    world = build_world("0 0 1 1 *", "2026-06-01T11:30:00").run(60)
    world.feed(cues.RequestReceived("terminate", "SIGTERM"))
    assert world.finish is not None


@pytest.fixture
def local(monkeypatch):
    """Sets TZ, and tells of a daily time at noon in July how many hours before UTC's noon it is."""

    def hours(tz):
        monkeypatch.setenv("TZ", tz)
        cron_times.get_local_zone.cache_clear()
        moment = datetime(2026, 7, 1, tzinfo=UTC).timestamp()
        noon = find_next_time(When(cron="0 12 * * *"), moment)
        assert noon is not None
        return 12 - (noon - moment) / HOUR

    yield hours
    cron_times.get_local_zone.cache_clear()


@pytest.mark.parametrize(
    ("tz", "hours"),
    [
        (BERLIN, 2),
        (f":{BERLIN}", 2),
        ("CET-1CEST,M3.5.0,M10.5.0/3", 2),
        ("<-0330>3:30", -3.5),
        ("FILE", -10),
        (":FILE", -10),
        ("", -10),
        ("Mars/North", 0),
        (":/nowhere", 0),
    ],
)
def test_zone_of_this_machine(local, monkeypatch, tz, hours):
    """TZ is read as glibc does: a name, a file, a POSIX rule, with or without a colon; unset it is /etc/localtime."""
    file = next(path for folder in TZPATH if (path := Path(folder, "Pacific/Honolulu")).exists())
    monkeypatch.setattr(time_zones, "LOCALTIME_PATH", str(file))
    assert local(tz.replace("FILE", str(file))) == hours


@pytest.mark.parametrize(
    ("tz", "is_reported"), [("Mars/North", True), (":/nowhere", True), ("CET-1", False), (BERLIN, False)]
)
def test_zone_that_nobody_knows(monkeypatch, tz, is_reported):
    """A TZ that is not understood is a doubt about the jobs with `cron` and no `timezone`, and about no others."""
    monkeypatch.setenv("TZ", tz)
    jobs = [
        build_job("a", when=When(cron="@daily")),
        build_job("b", when=When(cron="@daily", timezone="UTC")),
        build_job("c"),
    ]
    warning = cron_times.build_timezone_warning(jobs)
    assert (warning is not None) == is_reported
    assert warning is None or f"taken as UTC (a): TZ={tz} is no time zone" in warning
    assert cron_times.build_timezone_warning(jobs[1:]) is None


@pytest.mark.parametrize("zone", ["UTC", BERLIN, "Australia/Lord_Howe", "Asia/Kathmandu"])
def test_next_time_is_later(zone):
    """The next time is always later than the moment it is asked for, also within a change of the clock."""
    when = When(cron="*/7 1-3 * * *", timezone=zone)
    moment = parse_local_time("2026-10-25T00:00:00")
    for _ in range(200):
        upcoming = find_next_time(when, moment)
        assert upcoming is not None and upcoming > moment
        moment = upcoming
