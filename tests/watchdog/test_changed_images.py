"""The history of a group of slots follows the group when its image, its tag or its engine changes."""

from __future__ import annotations

from typing import Any

import pytest
from autopilot_watchdog.core import operator_orders, quarantine
from autopilot_watchdog.core.decide import list_images_to_check
from autopilot_watchdog.core.image_troubles import count_failed_preparations
from autopilot_watchdog.core.memory import Memory
from autopilot_watchdog.core.observation import Observation, RegistryFailure, TagDigest
from autopilot_watchdog.core.slot_actions import Outcome, Preflight, Pull, RemoveImage, Verify
from autopilot_watchdog.simulation.simulated_registry import DigestBehaviour, SimulatedRegistry
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from tests.property_examples import scale_examples
from tests.watchdog.changing_host import ChangingHost
from tests.watchdog.scenes import BEGIN, KEY, A, B, C, build_config, build_failing_behaviour, run_passes
from tests.watchdog.test_changed_configuration import build_groups

V1, V2, TYPO = (f"registry.example.org/site/worker-node:{tag}" for tag in ("v1", "v2", "typo"))
OTHER = "registry.example.org/other/worker-node:v1"
RINGS = {"rings": [{"share": "100%", "after": "6h"}], "spread": "0s"}


class TaggedRegistry(SimulatedRegistry):
    """Registry with several tags, each of one digest; others are not known."""

    def __init__(self, digests: dict[str, str], **rest: Any) -> None:
        super().__init__([(0, A)], **rest)
        self.tagged_digests = digests
        self.answers: list[TagDigest | RegistryFailure] = []

    def request_tag_digest(self, now: float, reference: str = "") -> TagDigest | RegistryFailure:
        """Return the answers to the questions of a pass, one after another."""
        return self.answers.pop(0)

    def answer(self, key: str) -> TagDigest | RegistryFailure:
        """Answer the question for one image."""
        digest = self.tagged_digests.get(key.rpartition(" ")[2])
        return TagDigest(digest) if digest else RegistryFailure("manifest unknown")


class TaggedHost(ChangingHost):
    """Host whose registry knows several tags."""

    registry: TaggedRegistry

    def run_pass(self, now: float) -> float | None:
        """Run a pass with the answers of each image's own tag."""
        answers = {group.image_key: self.registry.answer(group.image_key) for group in self.config.slots}
        self.registry.answers = [answers[key] for key in list_images_to_check(self.config, *self.look(now))]
        return super().run_pass(now)

    def look(self, now: float) -> tuple[Observation, Memory, float]:
        """Return the arguments of the question for the images to check."""
        return self.observe(now), self.memory, now


def build_tagged_host(image: str = V1, **rest: Any) -> TaggedHost:
    """Build a host with one group whose first image has proved good."""
    registry = TaggedRegistry({V1: A, V2: B, OTHER: C}, **rest)
    host = TaggedHost(build_config(count=2, group={"image": image}, rollout=RINGS), registry)
    run_passes(host, BEGIN, 3600)
    assert {container.digest for container in host.list_alive()} == {registry.tagged_digests[image]}
    return host


def use_image(host: TaggedHost, image: str, **group: Any) -> None:
    """Write another image into the configuration."""
    host.config = build_config(count=2, group={"image": image, **group}, rollout=RINGS)


def list_running(host: TaggedHost) -> list[tuple[str, str]]:
    """Return slot and image of the living containers."""
    return sorted((container.slot, container.image) for container in host.list_alive())


def test_new_tag_waits_for_its_turn() -> None:
    """The first digest of a new tag waits for the host's turn; until then a slot takes the former tag's good one."""
    host = build_tagged_host()
    use_image(host, V2)
    now = BEGIN + 3600
    host.end_containers("wn-01", now)
    now = run_passes(host, now, 3600)
    assert list_running(host) == [("wn-01", V1), ("wn-02", V1)]
    now = run_passes(host, now, 6 * 3600)
    host.end_containers("wn-01", now)
    now = run_passes(host, now, 60)
    assert list_running(host) == [("wn-01", V2), ("wn-02", V1)]


def test_bad_new_tag_has_a_way_back() -> None:
    """If the new tag's digest fails, it is quarantined and the slots run the former tag's good digest."""
    host = build_tagged_host(behaviours=build_failing_behaviour(B))
    use_image(host, V2)
    now = run_passes(host, BEGIN + 3600, 7 * 3600)
    host.end_containers("wn-01", now)
    host.end_containers("wn-02", now)
    run_passes(host, now, 3600)
    assert list_running(host) == [("wn-01", V1), ("wn-02", V1)]


def test_rollback_to_the_former_tag() -> None:
    """After a new tag was promoted, `rollback` leads to the former tag's good digest."""
    host = build_tagged_host()
    use_image(host, V2)
    now = run_passes(host, BEGIN + 3600, 7 * 3600)
    host.end_containers("wn-01", now)
    now = run_passes(host, now, 3600)
    assert ("wn-01", V2) in list_running(host)
    host.memory, sentence = operator_orders.roll_back(host.memory, f"docker {V2}", now)
    assert sentence.endswith(f"take {A}")
    host.end_containers("wn-01", now)
    run_passes(host, now, 60)
    assert list_running(host) == [("wn-01", V1), ("wn-02", V1)]


def test_misspelt_image() -> None:
    """A tag that no registry has leaves the slots filled, and is forgotten when the configuration is mended."""
    host = build_tagged_host()
    use_image(host, TYPO)
    now = BEGIN + 3600
    host.end_containers("wn-01", now)
    now = run_passes(host, now, 3600)
    assert list_running(host) == [("wn-01", V1), ("wn-02", V1)]
    assert host.memory.last_success <= BEGIN + 3600
    use_image(host, V1)
    now = run_passes(host, now, 600)
    assert set(host.memory.images) == {f"docker {V1}"} and host.memory.last_success == host.memory.last_pass
    assert [good.digest for good in host.memory.get_image(f"docker {V1}").known_good] == [A]


def test_pin_and_quarantine_survive_a_detour() -> None:
    """A pin and a roll-back are still there when the configuration comes back to the image."""
    host = build_tagged_host()
    host.memory, _ = operator_orders.set_pin(host.memory, f"docker {V1}", A, BEGIN)
    use_image(host, TYPO)
    now = run_passes(host, BEGIN + 3600, 600)
    use_image(host, V1)
    run_passes(host, now, 600)
    assert host.memory.get_image(f"docker {V1}").pin == A


@pytest.mark.slow
def test_former_repository_is_removed() -> None:
    """When the new image has two good digests, the former one is forgotten and its images are removed from the disk."""
    host = build_tagged_host()
    use_image(host, OTHER)
    now = run_passes(host, BEGIN + 3600, 7 * 3600)
    for digest in (C, B):
        host.registry.tagged_digests[OTHER] = digest
        now = run_passes(host, now, 7 * 3600)
        host.end_containers("wn-01", now)
        host.end_containers("wn-02", now)
        now = run_passes(host, now, 3600)
    assert set(host.memory.images) == {f"docker {OTHER}"}
    assert host.get_engine("docker").digests == {B, C}


def test_engine_changes_with_its_history() -> None:
    """On a new engine the image keeps what was known of it: pin, quarantine and good digests."""
    host = build_tagged_host()
    key = f"docker {V1}"
    host.memory, image = quarantine.add_quarantine(
        host.memory, host.memory.get_image(key), C, "bad", now=BEGIN, source="operator"
    )
    host.memory = host.memory.replace_image(key, image)
    use_image(host, V1, engine="podman")
    now = run_passes(host, BEGIN + 3600, 60)
    moved = host.memory.get_image(f"podman {V1}")
    assert [good.digest for good in moved.known_good] == [A] and set(moved.quarantine) == {C}
    host.end_containers("wn-01", now)
    host.end_containers("wn-02", now)
    run_passes(host, now, 3600)
    assert {container.engine for container in host.list_alive()} == {"podman"}
    assert set(host.memory.images) == {f"podman {V1}"} and not host.get_engine("docker").digests


def test_renamed_group_keeps_its_history() -> None:
    """A group with another name and another tag of its repository has the former group's history."""
    host = build_tagged_host()
    use_image(host, V2, name="node-NN")
    now = run_passes(host, BEGIN + 3600, 60)
    assert host.memory.groups["node-NN"].former == (f"docker {V1}",)
    use_image(host, OTHER, name="third-NN")
    run_passes(host, now, 60)
    assert host.memory.groups["third-NN"].former == ()


def list_checks(host: ChangingHost) -> list[tuple[str, str]]:
    """Return the executed checks with their groups."""
    return [
        (type(action).__name__, action.group)
        for _, action in host.executed_actions
        if isinstance(action, Verify | Preflight)
    ]


def test_checks_of_two_groups_with_one_image() -> None:
    """Each group of one image has its own checks, and a group without any needs none."""
    check = {"exec": ["true"]}
    host = ChangingHost(
        build_groups(
            {"name": "a-NN"},
            {"name": "b-NN", "preflight": check},
            {"name": "c-NN", "preflight": {"exec": ["false"]}, "verify": check},
        ),
        SimulatedRegistry([(0, A)]),
    )
    host.run_pass(BEGIN)
    assert sorted(list_checks(host)) == [("Preflight", "b-NN"), ("Preflight", "c-NN"), ("Verify", "c-NN")]
    assert len([action for _, action in host.executed_actions if isinstance(action, Pull)]) == 1
    assert len(host.list_alive()) == 3


def test_refusal_of_one_group() -> None:
    """An image that one group's check refuses is started by the other group, and not quarantined."""
    host = ChangingHost(
        build_groups({"name": "a-NN"}, {"name": "b-NN", "preflight": {"exec": ["false"]}}),
        SimulatedRegistry([(0, A), (BEGIN + 7200, B)]),
    )
    execute = host._execute
    refused: list[float] = []

    def refuse_second(action: Any, now: float) -> Outcome:
        if isinstance(action, Preflight) and action.digest == B:
            refused.append(now)
            return Outcome(action, "no", blames_image=True)
        return execute(action, now)

    host._execute = refuse_second  # type: ignore[method-assign]
    now = run_passes(host, BEGIN, 6 * 3600)
    host.end_containers("a-01", now)
    host.end_containers("b-01", now)
    run_passes(host, now, 3600)
    assert sorted((one.slot, one.digest) for one in host.list_alive()) == [("a-01", B), ("b-01", A)]
    assert not host.memory.get_image(KEY).quarantine and len(refused) > 3


@pytest.mark.parametrize("kind", ["verify", "preflight"])
@pytest.mark.parametrize("names", [("a-NN", "b-NN"), ("b-NN", "a-NN")])
def test_failed_check_of_one_group_delays_no_other(names: tuple[str, str], kind: str) -> None:
    """While one group's check fails and waits, the other one's is tried at once; a removed check waits no more."""
    failing, well = names
    check = {kind: {"exec": ["true"]}}
    host = ChangingHost(build_groups(*({"name": name, **check} for name in sorted(names))), SimulatedRegistry([(0, A)]))
    execute = host._execute
    tries: list[float] = []

    def refuse_one_group(action: Any, now: float) -> Outcome:
        if isinstance(action, Verify | Preflight) and action.group == failing:
            tries.append(now)
            return Outcome(action, "no", blames_image=True)
        return execute(action, now)

    host._execute = refuse_one_group  # type: ignore[method-assign]
    host.run_pass(BEGIN)
    assert [one.slot for one in host.list_alive()] == [well.replace("NN", "01")] and tries == [BEGIN]
    assert count_failed_preparations(host.memory.get_image(KEY)) == 1
    now = run_passes(host, BEGIN, 600)
    assert 4 <= len(tries) <= 8 and tries[1] - BEGIN >= 20, "the failing group's own tries wait longer and longer"
    host.config = build_groups(*({"name": name, **(check if name == well else {})} for name in sorted(names)))
    host.run_pass(now)
    assert len(host.list_alive()) == 2
    assert count_failed_preparations(host.memory.get_image(KEY)) == 0


def test_two_tags_of_one_repository() -> None:
    """The clean-up of one tag leaves the good digests of the other one on the disk."""
    registry = TaggedRegistry({V1: A, V2: A})
    host = TaggedHost(build_groups({"name": "a-NN", "image": V1}, {"name": "b-NN", "image": V2}), registry)
    now = run_passes(host, BEGIN, 3600)
    for number in range(4):  # V1 moves on, V2 stays
        registry.tagged_digests[V1] = f"sha256:{number:064x}"
        now = run_passes(host, now, 3600)
        host.end_containers("a-01", now)
        now = run_passes(host, now, 3600)
    removed = [action.digest for _, action in host.executed_actions if isinstance(action, RemoveImage)]
    assert A in host.get_engine("docker").digests and A not in removed and removed
    host.end_containers("b-01", now)
    run_passes(host, now, 60)
    assert [one.digest for one in host.list_alive() if one.slot == "b-01"] == [A]


def test_same_digest_in_another_repository_is_pulled() -> None:
    """A digest that is on the disk under the former repository's name is pulled under the new one's."""
    host = build_tagged_host()
    host.registry.tagged_digests[OTHER] = A
    use_image(host, OTHER)
    now = run_passes(host, BEGIN + 3600, 60)
    pulls = [action for _, action in host.executed_actions if isinstance(action, Pull)]
    assert Pull(f"docker {OTHER}", A) in pulls or host.get_engine("docker").has_image("x", A)
    host.end_containers("wn-01", now)
    run_passes(host, now, 60)
    assert ("wn-01", OTHER) in list_running(host)


CHANGES = st.lists(
    st.tuples(
        st.sampled_from([V1, V2, TYPO, OTHER]),
        st.sampled_from(["docker", "podman"]),
        st.sampled_from(["wn-NN", "node-NN"]),
        st.integers(60, 40_000),
    ),
    max_size=5,
)


@pytest.mark.slow
@given(changes=CHANGES)
@settings(max_examples=scale_examples(15), deadline=None, phases=[Phase.explicit, Phase.generate])
def test_memory_is_bounded(changes: list[tuple[str, str, str, int]]) -> None:
    """After any sequence of images, engines and names the slots are filled, and only what is of use is remembered."""
    short = DigestBehaviour(lifetime=7200.0, jitter=600.0)
    host, now = build_tagged_host(behaviours={A: short, B: short, C: short}), BEGIN + 3600
    for image, engine, name, seconds in changes:
        use_image(host, image, engine=engine, name=name)
        now = run_passes(host, now, seconds, every=1800)
        assert len(host.memory.images) <= 8 and len(host.memory.groups) == 1
    use_image(host, V1)
    now = run_passes(host, now, 12 * 3600, every=1800)
    assert list_running(host) == [("wn-01", V1), ("wn-02", V1)]
    used = {host.memory.groups["wn-NN"].image, *host.memory.groups["wn-NN"].former}
    assert set(host.memory.images) == used and len(used) <= 3
    assert list(host.memory.engines) == ["docker"] and not host.get_engine("podman").digests
