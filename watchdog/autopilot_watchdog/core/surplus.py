"""Deal with containers that the configuration has no slot for any more: drain them, and fill no slot that they block.

A container is surplus if the configuration has no such slot, or if its slot has another container. As long as there is
a surplus one, no more containers run than there were slots before, and no slot uses a port, folder or device that
another container has for itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from autopilot_watchdog.config.slot_claims import are_in_conflict, compute_claims
from autopilot_watchdog.core.decision_context import DecisionContext
from autopilot_watchdog.core.engine_memory import describe_occupant, list_unseen_occupants
from autopilot_watchdog.core.memory import DrainRetry, Memory, Occupant
from autopilot_watchdog.core.observation import Container, EngineView
from autopilot_watchdog.core.reasons import Reason
from autopilot_watchdog.core.retry_delay import compute_retry_delay
from autopilot_watchdog.core.slot_actions import Drain

DRAIN_RETRY_INITIAL_S, DRAIN_RETRY_MAX_S = 30.0, 3600.0  # after a container could not be asked to drain
SURPLUS_MODES = {  # of the key `surplus`: how such a container goes on
    "drain": "it is asked to drain and ends by itself",
    "keep": "it runs on to the end of its life",
}


class HostRoom:
    """Room on the host for further containers. It shrinks with each start that a decision plans."""

    def __init__(self, context: DecisionContext, memory: Memory) -> None:
        self._context = context
        self._slots = context.config.map_slots_to_groups()
        unseen = list_unseen_occupants(context, memory)
        self._surplus = [describe_occupant(container) for container in context.surplus]
        self._surplus += [one for one in unseen if one.slot not in context.groups]
        self._others = [describe_occupant(container) for container in context.alive_containers.values()]
        self._others += [*self._surplus, *(one for one in unseen if one.slot in context.groups)]
        self._free = memory.room - len(self._others)
        used_cpus = sum(occupant.milli_cpus for occupant in self._others) / 1000
        configured_cpus = sum(group.cpus for group in context.groups.values())
        self._free_cpus = max(configured_cpus, context.observation.cpus) - used_cpus

    def take(self, name: str) -> Reason | None:
        """Take the room of a slot's container; return the reason if there is none."""
        group, number = self._slots[name]
        claims = compute_claims(group, self._context.config.host, number)
        for other in self._others:
            for claim in claims.own:
                if any(are_in_conflict(claim, held) for held in other.own) and not self._is_shared(name, claim):
                    return self._explain(f"{other.name} still has the {claim}", other)
        if self._surplus:
            surplus = self._surplus[0]
            if self._free <= 0:
                return self._explain(f"{surplus.name} is still in its place", surplus)
            if group.cpus and group.cpus > self._free_cpus and any(one.milli_cpus for one in self._surplus):
                sentence = f"the slot needs {group.cpus:g} CPUs, {max(0.0, self._free_cpus):g} are free"
                return self._explain(f"{sentence}: {surplus.name} still runs", surplus)
        self._free -= 1
        self._free_cpus -= group.cpus
        return None

    def _is_shared(self, name: str, claim: str) -> bool:
        """Return True if the configuration gives the claimed thing to another slot, too: that is intended."""
        host = self._context.config.host
        return any(
            are_in_conflict(claim, other)
            for slot, (group, number) in self._slots.items()
            if slot != name
            for other in compute_claims(group, host, number).own
        )

    def _explain(self, sentence: str, holder: Occupant) -> Reason:
        if holder in self._surplus:
            return Reason("resource-busy", f"{sentence}; {SURPLUS_MODES[self._context.config.surplus]}")
        return Reason("resource-busy", f"{sentence}, by an earlier configuration")


def update_room(context: DecisionContext, memory: Memory) -> Memory:
    """Return the memory with the number of containers that may run on this host at a time.

    That is the number of slots. While there are surplus containers it is that of the former configuration, if larger.
    """
    count = len(context.groups)
    if context.surplus:
        room = max(count, memory.room or len(context.alive_containers) + len(context.surplus))
    elif all(isinstance(view, EngineView) for view in context.observation.engines.values()):
        room = count
    else:
        room = max(count, memory.room)
    return memory if room == memory.room else replace(memory, room=room)


def name_surplus(context: DecisionContext) -> dict[str, Container]:
    """Return the surplus containers by their names in the table of slots: the slot's, if no other one has it."""
    named: dict[str, Container] = {}
    for container in context.surplus:
        is_only_one = container.slot not in context.groups and container.slot not in named
        named[container.slot if is_only_one and container.slot else container.name] = container
    return named


def explain_surplus(context: DecisionContext, container: Container) -> Reason:
    """Return the reason of a surplus container."""
    if container.slot in context.groups:
        place = f"{container.slot} has another container"
    else:
        place = "the configuration has no such slot any more"
    mode = SURPLUS_MODES[context.config.surplus]
    return Reason("surplus", f"{container.name} runs on {container.engine}, but {place}: {mode}")


def plan_surplus_drains(context: DecisionContext, memory: Memory) -> Iterator[tuple[float, Drain]]:
    """Yield the drains of surplus containers, each with the epoch seconds of its turn."""
    if context.config.surplus != "drain" or memory.paused:
        return
    for container in context.surplus:
        draining = container.last_words is not None and container.last_words.draining
        if container.state == "running" and not draining and container.id not in memory.drained:
            yield context.now, Drain(container.id, container.slot, container.engine)


def delay_drain(memory: Memory, turn: float, drain: Drain) -> tuple[float, Drain]:
    """Return the drain with its turn, later if it failed before."""
    retry = memory.drain_retries.get(drain.container)
    return (max(turn, retry.not_before) if retry else turn), drain


def record_drain_failure(memory: Memory, drain: Drain, now: float) -> Memory:
    """Return the memory after a container could not be asked to drain."""
    tries = memory.drain_retries.get(drain.container, DrainRetry()).tries + 1
    wait = compute_retry_delay(tries, DRAIN_RETRY_INITIAL_S, DRAIN_RETRY_MAX_S, drain.container)
    return replace(memory, drain_retries={**memory.drain_retries, drain.container: DrainRetry(tries, now + wait)})


def forget_ended_drains(context: DecisionContext, memory: Memory) -> Memory:
    """Return the memory without failed drains of containers that are gone."""
    present = {container.id for container in context.containers}
    if memory.drain_retries.keys() <= present:
        return memory
    kept = {id: retry for id, retry in memory.drain_retries.items() if id in present}
    return replace(memory, drain_retries=kept)
