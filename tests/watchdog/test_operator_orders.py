"""Orders of the operator: what they say is what happens, and none takes the last startable digest away unsaid."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from autopilot_watchdog.core import operator_orders
from autopilot_watchdog.core.memory import DigestRecord, ImageMemory, KnownGood, Memory, Quarantine, SlotMemory
from autopilot_watchdog.core.operator_orders import OrderError
from autopilot_watchdog.core.rollout import list_digest_choices
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.property_examples import scale_examples
from tests.watchdog.scenes import BEGIN, KEY, A, B, C, build_config

CONFIG = build_config()
DIGESTS = (A, B, C)


def build_memory(newest: str, good: tuple[str, ...], pin: str = "", quarantine: dict[str, str] | None = None) -> Memory:
    """Build a memory of one image; `quarantine` has the sources by digest."""
    image = ImageMemory(
        newest=newest,
        records={digest: DigestRecord(BEGIN) for digest in DIGESTS},
        known_good=tuple(KnownGood(digest, BEGIN - place) for place, digest in enumerate(good)),
        quarantine={digest: Quarantine(BEGIN, "it failed", source) for digest, source in (quarantine or {}).items()},
        pin=pin,
    )
    return Memory(images={KEY: image})


def list_choices(memory: Memory) -> list[str]:
    """Return the digests that the next life may take."""
    return [choice.digest for choice in list_digest_choices(memory, KEY, CONFIG, BEGIN + 1)]


def test_second_rollback_is_refused() -> None:
    """A rollback given twice goes one step back: the second is refused and names the digest that is taken."""
    memory, sentence = operator_orders.roll_back(build_memory(C, (C, B, A)), KEY, BEGIN)
    assert list_choices(memory)[0] == B and f"take {B}" in sentence
    with pytest.raises(OrderError, match=f"{C} is quarantined already .*the last good digest is {B}"):
        operator_orders.roll_back(memory, KEY, BEGIN)
    assert B not in memory.get_image(KEY).quarantine


def test_rollback_of_a_pinned_image_is_refused() -> None:
    """A pin overrides a rollback, so the rollback is refused with the remedy."""
    with pytest.raises(OrderError, match=f"it is pinned to {B}.*`unpin` first"):
        operator_orders.roll_back(build_memory(B, (B, A), pin=B), KEY, BEGIN)


def test_rollback_passes_quarantined_ones() -> None:
    """A rollback promises a good digest that may be started, not one that the fleet quarantined meanwhile."""
    memory, sentence = operator_orders.roll_back(build_memory(C, (C, B, A), quarantine={B: "fleet"}), KEY, BEGIN)
    assert list_choices(memory) == [A] and f"take {A}" in sentence


def test_rollback_without_an_answer_of_the_registry() -> None:
    """Before the registry has answered, the last good digest is rolled back, once."""
    memory, _ = operator_orders.roll_back(build_memory("", (C, B, A)), KEY, BEGIN)
    assert list_choices(memory)[0] == B
    with pytest.raises(OrderError, match=f"{C} is quarantined already"):
        operator_orders.roll_back(memory, KEY, BEGIN)


def test_quarantine_of_the_only_digest_needs_force() -> None:
    """A quarantine after which nothing could be started is refused, and with force the sentence says so."""
    memory = build_memory(A, (A,))
    with pytest.raises(OrderError, match=r"no digest of .* could be started afterwards"):
        operator_orders.quarantine_digest(memory, KEY, A, "bad", now=BEGIN)
    memory, sentence = operator_orders.quarantine_digest(memory, KEY, A, "bad", now=BEGIN, force=True)
    assert not list_choices(memory) and "no good digest is known" in sentence


@pytest.mark.parametrize("source", ["host", "shared", "hosts", "operator"])
def test_order_for_the_fleet_extends_that_of_a_host(source: str) -> None:
    """A digest that is quarantined on this host can be rolled back and quarantined for the fleet, once."""
    memory = build_memory(C, (B, A), quarantine={C: source})
    by_rollback, sentence = operator_orders.roll_back(memory, KEY, BEGIN, "by alice", "fleet")
    assert f"the quarantine of {C} on this host is the whole fleet's now: by alice" in sentence
    by_quarantine, _ = operator_orders.quarantine_digest(memory, KEY, C, "by alice", now=BEGIN, source="fleet")
    assert by_rollback == by_quarantine and list_choices(by_rollback)[0] == B
    entry = by_rollback.get_image(KEY).quarantine[C]
    assert (entry.source, entry.reason, entry.since) == ("fleet", "by alice", BEGIN)
    for order in (operator_orders.roll_back, lambda *rest: operator_orders.quarantine_digest(*rest, now=BEGIN)):
        with pytest.raises(OrderError, match="is quarantined already"):
            order(by_rollback, KEY, *((BEGIN,) if order is operator_orders.roll_back else (C, "bad")))


def test_retry_ends_every_wait() -> None:
    """After `retry` nothing waits: no slot, no host, no pull, no registry; quarantines and their mention stay."""
    memory = build_memory(B, (A,), quarantine={B: "host"})
    image = memory.get_image(KEY)
    record = DigestRecord(BEGIN, tries=4, not_before=BEGIN + 3600, trouble="connection refused")
    memory = replace(
        memory.replace_image(KEY, replace(image.replace_digest_record(A, record), asked_at=BEGIN)),
        slots={"wn-01": SlotMemory(streak=5, not_before=BEGIN + 600), "wn-02": SlotMemory(streak=1, not_before=BEGIN)},
        streak=9,
        not_before=BEGIN + 3600,
    )
    after, sentence = operator_orders.retry_now(memory, {"wn-01": KEY, "wn-02": KEY})
    assert after.not_before == after.streak == 0
    assert all(slot.not_before == slot.streak == 0 for slot in after.slots.values())
    assert after.get_image(KEY).asked_at == 0 and after.get_image(KEY).records[A].not_before == 0
    assert B in after.get_image(KEY).quarantine and f"still quarantined: {B[:19]}" in sentence
    one, _ = operator_orders.retry_now(memory, {"wn-02": KEY})
    assert one.slots["wn-01"] == memory.slots["wn-01"] and one.slots["wn-02"].not_before == 0


Order = Callable[[Memory], tuple[Memory, str]]


def list_orders(digest: str, now: float) -> dict[str, Order]:
    """Return every order about an image, with this digest where it takes one."""
    return {
        "pin": lambda memory: operator_orders.set_pin(memory, KEY, digest, now),
        "unpin": lambda memory: operator_orders.remove_pin(memory, KEY),
        "rollback": lambda memory: operator_orders.roll_back(memory, KEY, now),
        "release": lambda memory: operator_orders.release_quarantine(memory, KEY, digest, now),
        "quarantine": lambda memory: operator_orders.quarantine_digest(memory, KEY, digest, "bad", now=now),
        "retry": lambda memory: operator_orders.retry_now(memory, {"wn-01": KEY}),
        "pause": operator_orders.pause,
        "resume": operator_orders.resume,
    }


MEMORIES = st.builds(
    build_memory,
    st.sampled_from(["", *DIGESTS]),
    st.lists(st.sampled_from(DIGESTS), unique=True).map(tuple),
    st.sampled_from(["", "", A]),
    st.dictionaries(st.sampled_from(DIGESTS), st.sampled_from(["host", "fleet", "shared"]), max_size=2),
)
STEPS = st.lists(st.tuples(st.sampled_from(sorted(list_orders(A, 0.0))), st.sampled_from(DIGESTS)), max_size=12)


@settings(max_examples=scale_examples(300), deadline=None)
@given(memory=MEMORIES, steps=STEPS)
def test_no_order_empties_the_slots_unsaid(memory: Memory, steps: list[tuple[str, str]]) -> None:
    """After any orders without force a known good digest can be started, and a promised digest is the one taken."""
    for number, (name, digest) in enumerate(steps):
        before = memory
        try:
            memory, sentence = list_orders(digest, BEGIN + number)[name](memory)
        except OrderError:
            continue
        choices, image = list_choices(memory), memory.get_image(KEY)
        if any(good.digest not in image.quarantine for good in image.known_good):
            assert choices, (name, digest)
        if name in ("rollback", "quarantine", "pin", "retry", "release") and list_choices(before):
            assert choices, (name, digest)
        if name == "rollback":
            assert sentence.endswith(f"take {choices[0]}")
            assert len(image.quarantine) == len(before.get_image(KEY).quarantine) + 1
        if name == "pin":
            assert choices == [digest]
