"""Run one pass: rounds of look, decide, act, until nothing is left to do."""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import dataclass, replace
from pathlib import Path

from autopilot_watchdog.config.config_model import Config
from autopilot_watchdog.core import engine_memory, memory_updates
from autopilot_watchdog.core.audit_events import ACTION_EVENTS, AuditEvent, describe_action
from autopilot_watchdog.core.decide import Decision, decide, list_images_to_check
from autopilot_watchdog.core.memory import ImageMemory, Memory
from autopilot_watchdog.core.observation import EngineView, Observation
from autopilot_watchdog.core.reasons import Reason
from autopilot_watchdog.core.slot_actions import Action, Outcome, Pull, RemoveContainer, Start
from autopilot_watchdog.engine.engine import EngineRefusedError, EngineUnreachableError
from autopilot_watchdog.engine.engine_registry import create_engine, create_engines
from autopilot_watchdog.shell import host_fitness, observe
from autopilot_watchdog.shell.act import Executor
from autopilot_watchdog.shell.audit import Audit
from autopilot_watchdog.shell.fleet_store import FleetStore
from autopilot_watchdog.shell.state_file import StateStore
from autopilot_watchdog.shell.systemd_notify import extend_timeout

OBSERVE_TIMEOUT_S = 600.0  # for all requests of one look together; each has its own limit, too
MAX_ROUNDS = 20  # pull, verify, pre-flight, start, and the same for a fall-back, with a margin


@dataclass(frozen=True, slots=True)
class PassReport:
    """Result of a pass."""

    memory: Memory
    reasons: dict[str, Reason]  # by slot
    problems: tuple[str, ...]  # sentences; with any, the pass was no success
    wake_at: float | None  # epoch seconds of the next due action; None for none


class Watchdog:
    """Live parts of the watchdog, created once per process and used for one pass or many."""

    def __init__(self, config: Config, audit: Audit) -> None:
        self.config = config
        self.store = StateStore(Path(config.state))
        self.engines = create_engines(config)
        self._audit = audit
        self._fleet_store = FleetStore(config) if config.consul else None
        self._executor = Executor(config, self.engines, self.store, audit, self._fleet_store)
        self.config_refused_since = 0.0  # see ConfigSource

    def use_config(self, config: Config) -> None:
        """Use another configuration from the next pass on; engines with the same socket stay connected."""
        before = self.config.list_engines()
        for name, address in config.list_engines().items():
            if name not in self.engines or address != before.get(name):
                self.engines[name] = create_engine(name, address, config.state)
        self.config = config
        self._fleet_store = FleetStore(config) if config.consul else None
        self._executor = Executor(config, self.engines, self.store, self._audit, self._fleet_store)

    def observe(self, memory: Memory, *, with_fitness: bool = True, with_network: bool = True) -> Observation:
        """Look at the host.

        Args:
            memory: The memory, for the digests to look for.
            with_fitness: True to check the host's fitness, too.
            with_network: True to ask registries and the fleet, too.
        """
        names = [*self.config.list_engines(), *self._connect_former_engines(memory)]
        for unused in self.engines.keys() - set(names):
            del self.engines[unused]
        views = {name: observe.observe_engine(self.config, self.engines[name], memory) for name in names}
        boot, booted = host_fitness.read_boot()
        observation = Observation(views, boot=boot, booted=booted, cpus=os.cpu_count() or 0)
        now = time.time()
        if with_fitness:
            reasons = host_fitness.find_unfit_reasons(self.config.fitness, self._list_disks(), now)
            observation = replace(observation, unfit_reasons=tuple(reasons))
        if not with_network:
            return observation
        keys = list_images_to_check(self.config, observation, memory, now)
        return replace(
            observation,
            tag_digests=observe.fetch_tag_digests(self.config, keys, memory, self.engines),
            fleet=self._fleet_store.read_fleet_state() if self._fleet_store else None,
        )

    def _connect_former_engines(self, memory: Memory) -> list[str]:
        """Create the engines that only the memory knows; return their names."""
        former = engine_memory.list_former_engines(self.config, memory)
        for name, address in former.items():
            if name not in self.engines:
                self.engines[name] = create_engine(name, address, self.config.state)
        return list(former)

    def _list_disks(self) -> list[Path]:
        """Return the folders that need free space: the state's and, if they are on this host, the engines'."""
        engines = [self.engines[name] for name in self.config.list_engines()]
        roots = [Path(engine.storage_folder) for engine in engines if engine.storage_folder]
        return [self.store.folder, *(root for root in roots if root.exists())]

    def plan_pass(self) -> Decision:
        """Return the decision with which a pass would begin; do and remember nothing."""
        memory = self.store.peek()
        return decide(self.config, self.observe(memory), memory, time.time())

    def run_pass(self) -> PassReport:
        """Run one pass; the caller holds the store's lock.

        Raises:
            StateError: The memory cannot be read or written.
        """
        memory = before = replace(self.store.load(), config_refused=self.config_refused_since)
        last_success = memory.last_success
        self.store.save(memory)  # without a written memory, a full disk could lead to a crash loop
        done: set[Action] = set()
        problems: list[str] = []
        unfit: tuple[str, ...] = ()
        for number in range(MAX_ROUNDS):
            is_first = number == 0
            with extend_timeout(OBSERVE_TIMEOUT_S):
                observation = self.observe(memory, with_fitness=is_first, with_network=is_first)
            unfit = observation.unfit_reasons or unfit
            if is_first:
                self._remove_leftover_preflights(observation)
            decision = decide(self.config, replace(observation, unfit_reasons=unfit), memory, time.time())
            memory = decision.memory
            new_actions = [action for action in decision.actions if action not in done]
            self._record_changes(before, memory)
            before = memory
            self.store.save(memory)
            if not new_actions:
                break
            tried, memory = self._execute_actions(new_actions, observation, memory, problems)
            done.update(tried)
            if not tried:
                break
        self._record_changes(before, memory)
        problems += engine_memory.list_silent_engines(self.config, memory, observation)
        if problems:
            memory = replace(memory, last_success=last_success)
            self.store.save(memory)
        wake_at = min((at for at in (decision.wake_at, decision.ask_registry_at) if at is not None), default=None)
        return PassReport(memory, decision.reasons, tuple(dict.fromkeys(problems)), wake_at)

    def _remove_leftover_preflights(self, observation: Observation) -> None:
        """Remove the pre-flight containers of a killed watchdog."""
        for name, view in observation.engines.items():
            if isinstance(view, EngineView):
                # a failing engine is the business of the pass itself
                with contextlib.suppress(EngineUnreachableError, EngineRefusedError):
                    self.engines[name].remove_preflight_containers()

    def _execute_actions(
        self, actions: list[Action], observation: Observation, memory: Memory, problems: list[str]
    ) -> tuple[list[Action], Memory]:
        """Carry out the actions one by one, with the memory saved after each.

        Returns:
            The actions that were tried (none if an engine was lost), and the new memory.
        """
        tried: list[Action] = []
        unremoved: set[str] = set()  # slots with a container that could not be removed
        views = [view for view in observation.engines.values() if isinstance(view, EngineView)]
        containers = {container.id: container for view in views for container in view.containers}
        for action in actions:
            if isinstance(action, Start) and action.slot in unremoved:
                continue  # its container may be alive again: look first
            memory = memory_updates.record_action_start(memory, action, time.time())
            self.store.save(memory)
            start = time.monotonic()
            try:
                outcome = self._executor.execute(action, containers)
            except EngineUnreachableError as error:
                problems.append(str(error))
                return [], memory
            self._record_outcome(outcome, time.monotonic() - start)
            tried.append(action)
            if outcome.error and isinstance(action, RemoveContainer):
                unremoved.add(action.slot)
            if outcome.error and isinstance(action, Pull | Start):
                problems.append(outcome.error)
            memory = memory_updates.apply_outcome(self.config, memory, outcome, time.time())
            self.store.save(memory)
        return tried, memory

    def _record_outcome(self, outcome: Outcome, duration_s: float) -> None:
        action, (event, phrase) = outcome.action, describe_action(outcome.action)
        fields = {key: getattr(action, key) for key in action.__dataclass_fields__ if key != "sentence"}
        if outcome.error:
            _, event = ACTION_EVENTS[type(action)]
            self._audit.record(event, f"{phrase}: {outcome.error}", "warning", **fields, error=outcome.error)
        else:
            fields |= {"seconds": round(duration_s, 3), "started": outcome.container}
            self._audit.record(event, f"{phrase} ({duration_s:.1f} s)", **fields)

    def _record_changes(self, before: Memory, after: Memory) -> None:
        """Record the changes of the memory in the audit log."""
        for name, slot in after.slots.items():
            if before.get_slot(name).code != slot.code:
                sentence = f"{name} {slot.code}: {slot.sentence}"
                self._audit.record(AuditEvent.SLOT, sentence, slot=name, code=slot.code)
        for key, image in after.images.items():
            self._record_image_changes(key, before.get_image(key), image)
        if after.urgency != before.urgency:
            change = f'is "{after.urgency}" now' if after.urgency else "was removed"
            self._audit.record(AuditEvent.URGENCY, f"the fleet's urgency {change}", "warning", urgency=after.urgency)

    def _record_image_changes(self, key: str, before: ImageMemory, after: ImageMemory) -> None:
        if after.newest != before.newest:
            sentence = f"the registry's newest digest of {key} is {after.newest}"
            self._audit.record(AuditEvent.NEW_DIGEST, sentence, image=key, digest=after.newest)
        if after.trouble and after.trouble != before.trouble:
            self._audit.record(AuditEvent.REGISTRY_FAILED, after.trouble, "warning", image=key)
        if before.trouble and not after.trouble:
            self._audit.record(AuditEvent.REGISTRY_RECOVERED, f"the registry answers again for {key}", image=key)
        for digest in after.quarantine.keys() - before.quarantine.keys():
            sentence = f"{digest} is quarantined: {after.quarantine[digest].reason}"
            self._audit.record(AuditEvent.QUARANTINE, sentence, "error", image=key, digest=digest)
        for digest in before.quarantine.keys() - after.quarantine.keys():
            sentence = f"{digest} may be started again"
            self._audit.record(AuditEvent.RELEASE, sentence, "warning", image=key, digest=digest)
        if after.last_good != before.last_good:
            sentence = f"the last good digest of {key} is {after.last_good or 'unknown'}"
            self._audit.record(AuditEvent.PROMOTE, sentence, image=key, digest=after.last_good)
