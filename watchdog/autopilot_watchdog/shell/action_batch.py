"""Carry out several actions at once, within a bound, and report them in their order."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from autopilot_watchdog.core.slot_actions import Action, Outcome, Preparation, RemoveContainer, Start
from autopilot_watchdog.engine.engine import EngineUnreachableError


@dataclass(frozen=True, slots=True)
class ActionReport:
    """Report about one action of a batch."""

    outcome: Outcome
    seconds: float  # the action's duration
    ended: float  # epoch seconds


@dataclass(frozen=True, slots=True)
class EngineLost:
    """Report that an engine did not answer, so that the rest of the batch was left."""

    sentence: str


def split_into_batches(actions: Sequence[Action]) -> list[list[Action]]:
    """Return the actions in batches that are carried out one after another, removals first and starts last.

    Only the actions of a batch of removals or starts may be carried out at once: each is about another slot, so that no
    two threads use one slot's folder. Preparing steps are in no batch: they run beside the passes.
    """
    removals: list[list[Action]] = []
    for action in actions:
        if isinstance(action, RemoveContainer):
            free = (batch for batch in removals if not any(_is_of_slot(other, action.slot) for other in batch))
            batch = next(free, None)
            if batch is None:
                removals.append([action])
            else:
                batch.append(action)
    starts: list[Action] = [action for action in actions if isinstance(action, Start)]
    others: list[list[Action]] = [
        [action] for action in actions if not isinstance(action, Preparation | RemoveContainer | Start)
    ]
    return [*removals, *others, starts]


def _is_of_slot(action: Action, slot: str) -> bool:
    return isinstance(action, RemoveContainer) and action.slot == slot


def execute_batch(
    actions: Sequence[Action], execute: Callable[[Action], Outcome], parallel: int
) -> Iterator[ActionReport | EngineLost]:
    """Carry out the actions, the first begun first, and yield their reports in the same order.

    After an engine was lost no further action is begun; those that are under way are reported.

    Args:
        actions: The actions.
        execute: Carries out one action; called in several threads.
        parallel: Most actions at once.
    """
    lost = threading.Event()

    def work(action: Action) -> ActionReport | EngineLost | None:
        if lost.is_set():
            return None
        begin = time.monotonic()
        try:
            outcome = execute(action)
        except EngineUnreachableError as error:
            lost.set()
            return EngineLost(str(error))
        return ActionReport(outcome, time.monotonic() - begin, time.time())

    if len(actions) <= 1 or parallel == 1:
        yield from (report for report in map(work, actions) if report is not None)
        return
    with ThreadPoolExecutor(min(parallel, len(actions)), thread_name_prefix="action") as pool:
        yield from (report for report in pool.map(work, actions) if report is not None)
