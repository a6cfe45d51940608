"""Decide on the next actions: `(config, observation, memory, now) -> (memory, actions, reasons)`, and the next wake-up.

Theory of operation. A pass is a sequence of rounds: look, decide, act, until there is nothing left to do. A decision
asks for the actions that are possible now; an action that depends on an outcome (a start after a pull) is asked for in
the next round. A slot with a living container is never touched. A slot is unknown while its engine does not answer.
Only an empty slot is filled: with the best digest that is prepared, unless a better one can be prepared first.
"""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass, field, replace

from autopilot_watchdog.config.config_model import Config
from autopilot_watchdog.core import (
    canary_state,
    clock_check,
    engine_memory,
    evidence,
    fleet_evidence,
    good_lives,
    group_history,
    image_planner,
    memory_updates,
    promotion,
    quarantine,
    ring_evidence,
    slot_planner,
    surplus,
    suspicions,
    urgency,
)
from autopilot_watchdog.core.cordons import find_cordon
from autopilot_watchdog.core.decision_context import DecisionContext, build_context
from autopilot_watchdog.core.exit_verdict import has_proved_good, judge_exit
from autopilot_watchdog.core.fleet_good import apply_fleet_good
from autopilot_watchdog.core.lost_lives import LostLife, find_lost_lives, record_lost_lives
from autopilot_watchdog.core.memory import Memory
from autopilot_watchdog.core.observation import UNKNOWN_STATE, Container, EngineDown, Observation
from autopilot_watchdog.core.preparation_progress import list_patience_ends
from autopilot_watchdog.core.preparation_waits import forget_former_checks, list_next_tries
from autopilot_watchdog.core.reasons import Reason
from autopilot_watchdog.core.rollout import list_turns
from autopilot_watchdog.core.slot_actions import Action, RemoveContainer, Start
from autopilot_watchdog.core.stuck_containers import forget_gone_containers

MAX_PASS_GAP_S = 3600.0  # a longer time between passes is not counted as lost: the host was down
OCCUPIED_CODES = (
    "",
    "running",
    "unhealthy",
    "draining",
    "stopping",
    "paused-container",
)  # codes of a slot that has a container

MAX_SILENT_IDS = 1000  # of containers that may be on an engine that does not answer
STUCK_RETRY_S = 10.0  # after a dead container could not be removed
WELL_CODES = (*OCCUPIED_CODES, "paused", "cordoned")  # with any other code a slot is empty, so not all is well


@dataclass(frozen=True, slots=True)
class Decision:
    """Result of a decision."""

    memory: Memory
    actions: tuple[Action, ...]
    reasons: dict[str, Reason]  # by slot
    wake_at: float | None  # epoch seconds of the next due action, registries aside; None for none
    ask_registry_at: float | None  # epoch seconds at which a registry's answer will be too old
    containers: dict[str, Container] = field(default_factory=dict)  # living ones, by the names in `reasons`
    lost_lives: tuple[LostLife, ...] = ()  # of containers that somebody removed


def list_images_to_check(config: Config, observation: Observation, memory: Memory, now: float) -> list[str]:
    """Return the keys of the images to ask registries for: those with an answer that is too old."""
    due: list[str] = []
    memory = clock_check.apply_clock_change(memory, observation, now)
    context = build_context(config, observation, now)
    for group in config.list_channels(with_followed=True):
        image = memory.get_image(group.image_key)
        if group.image_key in due or group.engine not in context.views or memory.paused:
            continue
        missing = now >= memory.not_before and any(
            name not in context.alive_containers
            and memory.get_slot(name).not_before <= now
            and find_cordon(memory, name) is None
            for name in group.list_slot_names(config.host)
        )
        max_age_s = config.registry.fresh if missing else config.registry.check_every
        if not image.asked_at <= now < image.asked_at + max_age_s:
            due.append(group.image_key)
    return due


def decide(config: Config, observation: Observation, memory: Memory, now: float) -> Decision:
    """Decide on the next actions of this host.

    Args:
        config: The configuration.
        observation: The latest look at the host.
        memory: The memory of earlier passes and rounds.
        now: Epoch seconds.
    """
    context = build_context(config, observation, now)
    memory = clock_check.apply_clock_change(memory, observation, now)
    memory = forget_former_checks(config, group_history.follow_groups(config, memory))
    memory = canary_state.settle_canaries(
        memory, memory_updates.apply_registry_answers(memory, observation.tag_digests, now)
    )
    memory = promotion.follow_fleet_promotions(config, memory, observation.fleet, now)
    memory = fleet_evidence.apply_fleet_state(memory, observation.fleet, now, config.failures.quorum)
    if observation.fleet is not None:
        memory = apply_fleet_good(config, memory, observation.fleet)
    memory = good_lives.follow_fleet_lives(config, memory, observation.fleet)
    lost_lives = find_lost_lives(config, observation, memory, now)
    memory = record_lost_lives(memory, lost_lives)
    memory, actions = _process_containers(context, memory)
    memory = suspicions.judge_host(context, memory)
    memory = ring_evidence.open_rings(config, promotion.apply_promotion_rules(config, memory, now), now)
    actions += fleet_evidence.plan_voices(config, memory, observation.fleet, now)
    actions += good_lives.plan_life_voices(config, memory, observation.fleet)
    memory = surplus.forget_ended_drains(context, surplus.update_room(context, memory))
    memory = engine_memory.remember_engines(context, memory)
    held, room = engine_memory.find_held_slots(context, memory), surplus.HostRoom(context, memory)
    reasons: dict[str, Reason] = {}
    steps = image_planner.plan_preparations(context, memory)  # one preparing step per group and round
    for name, group in context.groups.items():
        view = observation.engines[group.engine]
        if name in context.alive_containers:
            reasons[name] = _explain_occupied_slot(context.alive_containers[name], memory)
        elif isinstance(view, EngineDown):
            reasons[name] = Reason("engine-unknown", f"the slot's state is unknown: {view.sentence}")
        elif name in held:
            reasons[name] = Reason("engine-unknown", f"the slot's state is unknown: {held[name]}")
        else:
            reasons[name], step = slot_planner.plan_empty_slot(context, memory, name)
            if isinstance(step, Start):
                busy = room.take(name)
                reasons[name] = busy or reasons[name]
                actions += [] if busy else [step]
            elif step is not None:
                steps[f"{group.name} {group.image_key}"] = step
    surplus_containers = surplus.name_surplus(context)
    reasons |= {name: surplus.explain_surplus(context, one) for name, one in surplus_containers.items()}
    actions += dict.fromkeys(steps.values())  # two groups may need one pull
    drains = [*urgency.plan_drains(context, memory), *surplus.plan_surplus_drains(context, memory)]
    drains = [surplus.delay_drain(memory, turn, drain) for turn, drain in drains]
    actions += [drain for turn, drain in drains if turn <= now]
    if not actions and not observation.in_flight:
        actions += image_planner.plan_image_removals(context, memory)
    memory = engine_memory.remember_starts(context, memory, [one for one in actions if isinstance(one, Start)])
    memory = _record_reasons(context, memory, reasons)
    return Decision(
        memory,
        tuple(actions),
        reasons,
        _compute_wake_time(
            config, memory, reasons, [*(turn for turn, _ in drains), *list_patience_ends(observation, config)], now
        ),
        _compute_ask_time(config, memory, now),
        {**context.alive_containers, **surplus_containers},
        tuple(lost_lives),
    )


def _list_existing(ids: tuple[str, ...], present: Set[str], is_engine_silent: bool) -> tuple[str, ...]:
    """Return the ids of the containers that are present, and of the latest that a silent engine may have."""
    absent = [id for id in ids if id not in present]
    kept = set(absent[-MAX_SILENT_IDS:]) if is_engine_silent else set()
    return tuple(id for id in ids if id in present or id in kept)


def _process_containers(context: DecisionContext, memory: Memory) -> tuple[Memory, list[Action]]:
    """Count every end once, ask for the removal of dead containers, and record proofs of good images."""
    actions: list[Action] = []
    rules = context.config.failures
    present = {container.id for container in context.containers}
    is_engine_silent = len(context.views) < len(context.observation.engines)  # its containers still exist
    if memory.judged or memory.drained or memory.ordered_ends:
        memory = replace(
            memory,
            judged=_list_existing(memory.judged, present, is_engine_silent),
            drained=_list_existing(memory.drained, present, is_engine_silent),
            ordered_ends=_list_existing(memory.ordered_ends, present, is_engine_silent),
        )
    silent = set(memory.stuck) if is_engine_silent else set()
    memory = forget_gone_containers(memory, silent | {one.id for one in context.containers if not one.alive})
    for observed in context.containers:
        container = clock_check.fix_container_times(observed, memory.get_slot(observed.slot), context.now)
        if container in context.surplus:
            continue
        container = canary_state.settle_container(memory, context.groups.get(container.slot), container)
        memory = suspicions.record_payloads(memory, container, context.config.suspicion, context.now)
        if container.alive:
            if has_proved_good(container, rules.good_after, context.now):
                memory = quarantine.record_success(memory, container, rules, context.now)
            continue
        end = judge_exit(container, rules.good_after, context.observation.booted)
        if container.id not in memory.judged:
            memory = replace(memory, judged=(*memory.judged, container.id))
            if container.slot in context.groups and container.state != "created":
                ordered = container.id in (*memory.ordered_ends, *memory.drained)
                memory = quarantine.record_end(memory, container, end, rules, context.now, ordered=ordered)
                memory = memory if ordered else suspicions.record_life(memory, container, end)
        actions.append(
            RemoveContainer(container.id, container.slot, container.engine, end.code, end.sentence, end.verdict)
        )
    return memory, actions


def _explain_occupied_slot(container: Container, memory: Memory) -> Reason:  # noqa: PLR0911  # one per state
    name, digest = container.name, container.digest[:19]
    if container.state == "paused":
        return Reason("paused-container", f"{name} is frozen: somebody paused it in the engine, so it is left alone")
    if container.state == UNKNOWN_STATE:
        return Reason("stopping", f"{container.engine} tells nothing usable about {name}, so it is left alone")
    if container.state != "running":
        return Reason("stopping", f"{name} is {container.state}: it is left alone until the engine has ended it")
    if container.last_words is not None and container.last_words.draining:
        return Reason("draining", f"{name} drains {digest}: it takes no new work and ends by itself")
    if container.id in memory.drained:
        return Reason("draining", f"{name} runs {digest} and was asked to drain")
    if container.unhealthy:
        output = f", which printed last: {container.health_output}" if container.health_output else ""
        return Reason("unhealthy", f"{name} runs {digest}; {container.engine}'s health check fails{output}")
    return Reason("running", f"{name} runs {digest}")


def _record_reasons(context: DecisionContext, memory: Memory, reasons: dict[str, Reason]) -> Memory:
    """Record the slots' reasons, and count the slot-seconds lost since the last pass under the reasons of that time."""
    lost, slots, now = dict(memory.lost), dict(memory.slots), context.now
    for name in context.groups:
        slot, reason = memory.get_slot(name), reasons[name]
        if name not in context.alive_containers and reason.code != "engine-unknown":
            lost_since = max(memory.last_pass, slot.ended)
            cause = "renewal" if slot.code in OCCUPIED_CODES else slot.code
            if memory.last_pass and 0 <= now - lost_since < MAX_PASS_GAP_S:
                lost[cause] = lost.get(cause, 0.0) + now - lost_since
        if (slot.code, slot.sentence) != (reason.code, reason.sentence):
            since = slot.since if slot.code == reason.code else now
            slots[name] = replace(slot, code=reason.code, sentence=reason.sentence, since=since)
    if slots.keys() - context.groups.keys():
        slots = {name: slot for name, slot in slots.items() if name in context.groups}
    healthy = not engine_memory.list_silent_engines(context.config, memory, context.observation)
    # without an answer about a canary's tag its slots run the stable image, so that is no trouble
    troubles = [memory.get_image(group.image_key).trouble for group in context.config.slots]
    filled = all(reasons[name].code in WELL_CODES for name in context.groups)
    success = now if healthy and filled and not any(troubles) else memory.last_success
    return replace(memory, slots=slots, lost=lost, last_pass=now, last_success=success)


def _compute_wake_time(
    config: Config, memory: Memory, reasons: dict[str, Reason], further_times: list[float], now: float
) -> float | None:
    """Return the epoch seconds at which the next decision differs though nothing happens; None for never."""
    times = list(further_times)
    times += [memory.get_slot(name).not_before for name, reason in reasons.items() if reason.code == "backoff"]
    times += [now + STUCK_RETRY_S] if memory.stuck else []
    times += [
        slot.started + age
        for slot in memory.slots.values()
        if slot.started and not slot.ended and evidence.has_failing_digest(slot)
        for age in (config.failures.good_after, evidence.compute_hurdle(slot) + 1.0)
    ]
    times += [memory.not_before] if any(reason.code == "host-backoff" for reason in reasons.values()) else []
    for group in config.list_channels():
        image = memory.get_image(group.image_key)
        times += [time for record in image.records.values() for time in list_next_tries(record)]
        times += list_turns(memory, group, config, now)
    times += [due for group in config.slots if (due := promotion.compute_rule_time(memory, group)) is not None]
    return min((time for time in times if time > now), default=None)


def _compute_ask_time(config: Config, memory: Memory, now: float) -> float | None:
    channels = config.list_channels(with_followed=True)
    times = (memory.get_image(group.image_key).asked_at + config.registry.check_every for group in channels)
    return min((time for time in times if time > now), default=None)
