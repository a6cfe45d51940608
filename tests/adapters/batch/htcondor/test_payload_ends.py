"""The judgement of the ends of payloads, over any order of ends, witnesses and crashes."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from autopilot.adapters.batch.htcondor import payload_ends
from autopilot.adapters.batch.htcondor.payload_ends import EndingPayload, StarterEnd

LAST_LOOK = 20
EXITED, KILLED = StarterEnd(status=0), StarterEnd(signal=9)


@dataclass(frozen=True)
class Story:
    """One payload: the look before which its starter ends, its end, and the looks until the startd writes its line."""

    ends_at: int
    end: StarterEnd
    delay: int


STORIES = st.lists(
    st.builds(Story, st.integers(1, 8), st.sampled_from([EXITED, KILLED]), st.integers(0, 5)), max_size=4
)


def tell(stories: list[Story], crash_at: int | None) -> Counter[str]:
    """Return how often each payload was reported as lost; the startd crashes before the look `crash_at`."""
    lost: Counter[str] = Counter()
    endings: tuple[EndingPayload, ...] = ()
    names = {pid: f"{pid}.0" for pid in range(len(stories))}
    for look in range(1, LAST_LOOK):
        crashed = crash_at is not None and look >= crash_at
        living = [pid for pid, story in enumerate(stories) if look < story.ends_at and not crashed]
        witnessed = {
            pid: story.end
            for pid, story in enumerate(stories)
            if story.ends_at + story.delay <= look and (crash_at is None or story.ends_at + story.delay < crash_at)
        }
        crash = "condor_startd (pid 7)" if look == crash_at else ""
        endings = payload_ends.collect_endings(endings, names, living, crash=crash, now=look)
        losses, endings = payload_ends.judge_endings(endings, living, witnessed, lambda _: True, look)
        lost.update(loss.name for loss in losses)
        names = {pid: f"{pid}.0" for pid in living}
    assert not endings or crash_at is None
    return lost


@given(STORIES)
def test_starters_of_a_startd_that_lives(stories: list[Story]) -> None:
    """Each killed starter's payload is lost exactly once, and no other."""
    assert tell(stories, None) == Counter(f"{pid}.0" for pid, story in enumerate(stories) if story.end is KILLED)


@given(STORIES, st.integers(1, 9))
def test_starters_of_a_startd_that_crashes(stories: list[Story], crash_at: int) -> None:
    """Every payload is lost exactly once, unless the startd has written that its starter exited."""
    in_order = {
        f"{pid}.0"
        for pid, story in enumerate(stories)
        if story.end is EXITED and story.ends_at + story.delay < crash_at
    }
    assert tell(stories, crash_at) == Counter({f"{pid}.0" for pid in range(len(stories))} - in_order)


@given(st.text())
def test_no_log_breaks_it(text: str) -> None:
    """Any text is a log; only the startd's own lines tell of an end."""
    assert set(payload_ends.parse_starter_ends(text + "\nStarter pid 8 exited with status 4\n")) >= {8}


def test_the_newest_part_of_a_long_log(tmp_path: Path) -> None:
    """The last lines count, however long the log is; without a log nothing is known."""
    path = tmp_path / "StartLog"
    assert payload_ends.read_starter_ends(path) == {}
    path.write_text(
        "Starter pid 7 died on signal 6\n" + "x" * payload_ends.MAX_LOG_BYTES + "\nStarter pid 8 died on signal 11\n"
    )
    assert payload_ends.read_starter_ends(path) == {8: StarterEnd(signal=11)}


ACTIVATED = "11/28/26 11:51:50 {}: State change: claim-activation protocol successful\n"
RELEASED = (
    "11/28/26 11:51:50 {}: Called deactivate_claim()\n",
    "11/28/26 11:51:50 {}: State change: received RELEASE_CLAIM command\n",
    "11/28/26 11:51:50 {}: Changing state and activity: Preempting/Vacating -> Owner/Idle\n",
    "11/28/26 11:51:50 {}: Changing state: Unclaimed -> Delete\n",
)
NEUTRAL = (
    "11/28/26 11:51:50 {}: Changing activity: Busy -> Idle\n",
    "11/28/26 11:51:50 Starter pid 140 exited with status 4\n",
)
SLOTS = st.sampled_from(["slot1", "slot1_1", "slot1_2"])


@given(st.lists(st.tuples(SLOTS, st.sampled_from((ACTIVATED, *RELEASED, *NEUTRAL)))))
def test_active_slots(lines: list[tuple[str, str]]) -> None:
    """A slot is active from its activation until its shadow lets go."""
    last = {slot: line is ACTIVATED for slot, line in lines if line not in NEUTRAL}
    expected = {slot for slot, is_active in last.items() if is_active}
    assert payload_ends.find_active_slots("".join(line.format(slot) for slot, line in lines)) == expected
