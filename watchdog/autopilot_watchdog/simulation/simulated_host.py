"""Simulate one host in virtual time: the watchdog's real decisions on a simulated engine and registry."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

from autopilot_watchdog.config.config_model import Config
from autopilot_watchdog.core import memory_updates
from autopilot_watchdog.core.decide import decide, list_images_to_check
from autopilot_watchdog.core.memory import Memory, split_image_key
from autopilot_watchdog.core.observation import EngineDown, EngineView, FleetState, Observation
from autopilot_watchdog.core.reasons import Reason
from autopilot_watchdog.core.slot_actions import (
    Action,
    Drain,
    Outcome,
    Pull,
    RemoveContainer,
    RemoveImage,
    ShareGoodLife,
    ShareLives,
    ShareQuarantine,
    Start,
    WithdrawQuarantine,
)
from autopilot_watchdog.engine.engine import EngineUnreachableError, PullError, list_images_on_disk
from autopilot_watchdog.registry.image_reference import get_repository
from autopilot_watchdog.simulation.simulated_engine import SimulatedEngine
from autopilot_watchdog.simulation.simulated_registry import SimulatedRegistry

MAX_ROUNDS = 20
MOMENT_S = 0.001  # from the age of a failed life to a greater age


class SimulatedHost:
    """Host with one engine and the watchdog's memory. Times are virtual seconds; the clock may be skewed."""

    def __init__(
        self,
        config: Config,
        registry: SimulatedRegistry,
        is_broken: Callable[[float], bool] = lambda now: False,
        *,
        staggered: bool = False,
        find_fault: Callable[[str, str, float], float | None] = lambda slot, digest, started: None,
    ) -> None:
        """Create a host with empty slots; arguments as for SimulatedEngine."""
        self.config = config
        self.registry = registry
        self.engine = SimulatedEngine(
            config.slots[0].engine, registry, is_broken, staggered=staggered, find_fault=find_fault
        )
        self.memory = Memory()
        self.pull_s = 0.0  # seconds that a pull takes, beside the passes
        self.pull_begins: dict[Pull, float] = {}  # pulls that are under way
        self.unfit_reasons: tuple[str, ...] = ()
        self.reasons: dict[str, Reason] = {}
        self.executed_actions: list[tuple[float, Action]] = []
        self.idle = False  # the last pass left nothing to do
        self.full = False  # and every slot had its container
        self.wake_at: float | None = None  # time of the next due action, registries aside

    def observe(self, now: float) -> Observation:
        """Look at the host."""
        self.engine.now = now
        return Observation(
            {self.engine.name: self._observe_engine()},
            unfit_reasons=self.unfit_reasons,
            boot="1",
            booted=self.engine.clock_skew,
            in_flight={pull: begin + self.engine.clock_skew for pull, begin in self.pull_begins.items()},
        )

    def run_pass(self, now: float) -> float | None:
        """Run one pass, as shell.reconcile does; return the time of the next due one, None for none."""
        tried: set[Action] = set()
        clock = now + self.engine.clock_skew
        for pull in [pull for pull, begin in self.pull_begins.items() if begin + self.pull_s <= now]:
            del self.pull_begins[pull]
            outcome = self._execute(pull, now)
            self.memory = memory_updates.apply_outcome(self.config, self.memory, outcome, clock)
        for number in range(MAX_ROUNDS):
            observation = self.observe(now)
            if number == 0:
                keys = list_images_to_check(self.config, observation, self.memory, clock)
                observation = replace(
                    observation,
                    tag_digests={key: self.registry.request_tag_digest(now, split_image_key(key)[1]) for key in keys},
                    fleet=FleetState(voices=self.registry.voices, lives=self.registry.lives)
                    if self.config.consul
                    else None,
                )
            decision = decide(self.config, observation, self.memory, clock)
            self.memory, self.reasons = decision.memory, decision.reasons
            new_actions = [action for action in decision.actions if action not in tried]
            if not new_actions:
                break
            for action in new_actions:
                self.executed_actions.append((now, action))
                if isinstance(action, Pull) and self.pull_s:
                    self.memory = memory_updates.record_action_start(self.memory, action, clock)
                    self.pull_begins[action] = now
                    continue
                outcome = self._execute(action, now)
                self.memory = memory_updates.apply_outcome(self.config, self.memory, outcome, clock)
            tried.update(new_actions)
        self.idle = self.engine.is_up and not decision.actions and not self.pull_begins
        self.full = self.idle and len(self.engine.list_alive()) == len(self.reasons)
        self.wake_at, ask_at = (
            None if at is None else at - self.engine.clock_skew for at in (decision.wake_at, decision.ask_registry_at)
        )
        ends = [begin + self.pull_s for begin in self.pull_begins.values()]
        return min([at for at in (self.wake_at, ask_at) if at is not None] + ends, default=None)

    def has_started(self, digest: str) -> bool:
        """Return True if a container of the digest was started on this host, though it may have failed."""
        return any(isinstance(action, Start) and action.digest == digest for _, action in self.executed_actions)

    def find_next_news(self) -> float:
        """Return the time of the registry's first answer that this host does not know; infinity for never."""
        channels = self.config.list_channels(with_followed=True)
        asked = min(self.memory.get_image(group.image_key).asked_at for group in channels)
        return self.registry.find_next_change(asked - self.engine.clock_skew)

    def find_next_standing(self, now: float) -> float:
        """Return the time at which a living container will be older than the failed lives of its digest.

        An empty slot may choose another digest then. Infinity stands for never.
        """
        ages: dict[str, int] = {}
        for image in self.memory.images.values():
            for digest, record in image.records.items():
                ages[digest] = max((finding.age for finding in record.findings.values()), default=0)
        for slot in self.memory.slots.values():
            for digest, failures in slot.failed.items():
                if failures.count:
                    ages[digest] = max(ages.get(digest, 0), failures.age)
        times = (
            slot.started - self.engine.clock_skew + ages[slot.digest] + MOMENT_S
            for slot in self.memory.slots.values()
            if slot.started and not slot.ended and ages.get(slot.digest)
        )
        return min((at for at in times if at > now), default=math.inf)

    def compute_next_check(self, since: float) -> float:
        """Return the time of the first request to the registry at `since` or later, if nothing else happens."""
        every, due = self.config.registry.check_every, math.inf
        if since == math.inf:
            return due
        for group in self.config.list_channels(with_followed=True):
            asked = self.memory.get_image(group.image_key).asked_at - self.engine.clock_skew
            due = min(due, asked + every * max(1, math.ceil((since - asked) / every)))
        return due

    def record_skipped_checks(self, now: float) -> None:
        """Count the requests of skipped passes before `now`, and record the last answer."""
        every = self.config.registry.check_every
        for key in {group.image_key: None for group in self.config.list_channels(with_followed=True)}:
            asked = at = self.memory.get_image(key).asked_at - self.engine.clock_skew
            while at + every < now:
                at += every
                self.registry.request_counts[int(at // 60)] += 1
            if at > asked:
                answers = {key: self.registry.get_tag_digest(at, split_image_key(key)[1])}
                self.memory = memory_updates.apply_registry_answers(self.memory, answers, at + self.engine.clock_skew)

    def _observe_engine(self) -> EngineView | EngineDown:
        try:
            containers = tuple(
                replace(container, last_words=self.engine.get_last_words(container))
                for container in self.engine.list_containers()
            )
        except EngineUnreachableError as error:
            return EngineDown(str(error))
        images = frozenset(list_images_on_disk(self.engine, self.memory))
        return EngineView(containers, frozenset(digest for _, digest in images), images)

    def _execute(self, action: Action, now: float) -> Outcome:
        self.engine.now = now
        match action:
            case Pull(image, digest):
                repository = get_repository(split_image_key(image)[1])
                try:
                    self.engine.pull_image(repository, digest, auth=None, timeout=self.config.registry.pull_timeout)
                except PullError as error:
                    return Outcome(action, str(error))
            case Start(slot, digest, image):
                group, number = self.config.map_slots_to_groups()[slot]
                group = replace(group, image=split_image_key(image)[1]) if image else group
                id = self.engine.start_container(group, number, digest, host=self.config.host, state_folder=None)
                return Outcome(action, container=id)
            case RemoveContainer(id):
                self.engine.remove_container(id)
            case Drain(id):
                self.engine.execute_command(id, ())
            case ShareQuarantine() | ShareGoodLife() | WithdrawQuarantine() | ShareLives():
                self.registry.record_voice(self.config.host, action)
            case RemoveImage(image, digest):
                self.engine.remove_image(get_repository(split_image_key(image)[1]), digest)
        return Outcome(action)
