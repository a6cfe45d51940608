"""Several changes of the configuration at once: groups that swap their images or names, a new name with a new tag."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from autopilot_watchdog.core import operator_orders
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.property_examples import scale_examples
from tests.watchdog.scenes import BEGIN, A, B, C, run_passes
from tests.watchdog.test_changed_configuration import build_groups
from tests.watchdog.test_changed_images import OTHER, RINGS, TYPO, V1, V2, TaggedHost, TaggedRegistry, list_running

HOUR = 3600.0


def build_two_groups(first: dict[str, Any], second: dict[str, Any]) -> TaggedHost:
    """Build a host with two groups, whose images have proved good, and with a pin for the first one's image."""
    host = TaggedHost(build_groups(first, second), TaggedRegistry({V1: A, V2: B, OTHER: C}))
    now = run_passes(host, BEGIN, HOUR)
    host.memory, _ = operator_orders.set_pin(host.memory, f"docker {V1}", A, now)
    return host


def renew(host: TaggedHost, now: float) -> float:
    """End both slots and fill them again; return the time after it."""
    for slot in ("a-01", "b-01"):
        host.end_containers(slot, now)
    return run_passes(host, now, HOUR)


def test_groups_swap_images() -> None:
    """Groups that swap their images keep running; their next lives take the other image; the pin stays with its own."""
    host = build_two_groups({"name": "a-NN", "image": V1}, {"name": "b-NN", "image": OTHER})
    host.config = build_groups({"name": "a-NN", "image": OTHER}, {"name": "b-NN", "image": V1})
    now = run_passes(host, BEGIN + HOUR, HOUR)
    assert list_running(host) == [("a-01", V1), ("b-01", OTHER)]
    now = renew(host, now)
    assert list_running(host) == [("a-01", OTHER), ("b-01", V1)]
    assert host.memory.get_image(f"docker {V1}").pin == A
    host.config = build_groups({"name": "a-NN", "image": V1}, {"name": "b-NN", "image": OTHER})
    renew(host, now)
    assert list_running(host) == [("a-01", V1), ("b-01", OTHER)]


def test_groups_swap_names() -> None:
    """Groups that swap their names, or their places in the file, have no surplus container and fill no slot twice."""
    host = build_two_groups({"name": "a-NN", "image": V1}, {"name": "b-NN", "image": OTHER})
    host.config = build_groups({"name": "b-NN", "image": V1}, {"name": "a-NN", "image": OTHER})
    now = run_passes(host, BEGIN + HOUR, HOUR)
    assert list_running(host) == [("a-01", V1), ("b-01", OTHER)] and set(host.reasons) == {"a-01", "b-01"}
    renew(host, now)
    assert list_running(host) == [("a-01", OTHER), ("b-01", V1)]


def test_new_name_with_a_new_tag() -> None:
    """A group under a new name with another tag waits for the rings, and has the former tag's digest until then."""
    host = build_two_groups({"name": "a-NN", "image": V1}, {"name": "b-NN", "image": OTHER})
    host.memory, _ = operator_orders.remove_pin(host.memory, f"docker {V1}")
    groups = {"name": "node-NN", "image": V2}, {"name": "b-NN", "image": OTHER}
    host.config = build_groups(*groups, rollout=RINGS)
    now = BEGIN + HOUR
    host.end_containers("a-01", now)
    now = run_passes(host, now, HOUR)
    assert ("node-01", V1) in list_running(host), "the new tag's turn has not come"
    now = run_passes(host, now, 6 * HOUR)
    host.end_containers("node-01", now)
    run_passes(host, now, HOUR)
    assert ("node-01", V2) in list_running(host)


def test_two_groups_come_to_one_image() -> None:
    """Until the new image's turn each group has its own way back, never the image that only the other group had."""
    host = build_two_groups({"name": "a-NN", "image": V1}, {"name": "b-NN", "image": OTHER})
    host.memory, _ = operator_orders.remove_pin(host.memory, f"docker {V1}")
    host.config = build_groups({"name": "a-NN", "image": V2}, {"name": "b-NN", "image": V2}, rollout=RINGS)
    now = renew(host, BEGIN + HOUR)
    assert list_running(host) == [("a-01", V1), ("b-01", OTHER)]
    now = run_passes(host, now, 6 * HOUR)
    now = renew(host, now)
    assert list_running(host) == [("a-01", V2), ("b-01", V2)]
    host.memory, _ = operator_orders.roll_back(host.memory, f"docker {V2}", now)
    renew(host, now)
    assert list_running(host) == [("a-01", V1), ("b-01", OTHER)]


def test_a_group_joins_the_image_of_another_one() -> None:
    """A group that had the image all the time does not inherit what the joining group ran before."""
    host = build_two_groups({"name": "a-NN", "image": V1}, {"name": "b-NN", "image": OTHER})
    host.memory, _ = operator_orders.remove_pin(host.memory, f"docker {V1}")
    host.config = build_groups({"name": "a-NN", "image": OTHER}, {"name": "b-NN", "image": OTHER})
    now = renew(host, BEGIN + HOUR)
    host.memory, _ = operator_orders.quarantine_digest(host.memory, f"docker {OTHER}", C, "bad", now=now, force=True)
    renew(host, now)
    assert list_running(host) == [("a-01", V1)] and host.reasons["b-01"].code == "no-image"


GROUP_IMAGES = st.tuples(*[st.sampled_from([V1, V2, OTHER, TYPO])] * 2)


@pytest.mark.slow
@given(steps=st.lists(st.tuples(GROUP_IMAGES, st.sampled_from(["end", "quarantine", "wait"])), min_size=2, max_size=6))
@settings(max_examples=scale_examples(15), deadline=None)
def test_groups_run_images_that_they_had(steps: list[tuple[tuple[str, str], str]]) -> None:
    """Whatever images two groups get in turn, each slot runs only an image that its group had."""
    host, now = TaggedHost(build_groups({"name": "a-NN"}), TaggedRegistry({V1: A, V2: B, OTHER: C})), BEGIN
    had: dict[str, set[str]] = {"a-01": set(), "b-01": set()}
    for images, event in steps:
        host.config = build_groups(
            *({"name": f"{name}-NN", "image": image} for name, image in zip("ab", images, strict=True)), rollout=RINGS
        )
        for slot, image in zip(had, images, strict=True):
            had[slot].add(image)
        now = run_passes(host, now, 600, every=300)
        key = f"docker {images[0]}"
        if event == "quarantine" and (digest := host.memory.get_image(key).newest):
            with suppress(operator_orders.OrderError):
                host.memory, _ = operator_orders.quarantine_digest(host.memory, key, digest, "", now=now, force=True)
        now = renew(host, now) if event != "wait" else run_passes(host, now, 7 * HOUR, every=HOUR)
        running = list_running(host)
        assert all(image in had[slot] for slot, image in running), running
        assert len({slot for slot, _ in running}) == len(running)
