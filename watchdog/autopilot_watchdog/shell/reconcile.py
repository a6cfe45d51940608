"""One pass: rounds of look, decide, act, until nothing is left to do."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass, replace
from pathlib import Path

from autopilot_watchdog.config.config_model import Config
from autopilot_watchdog.core import memory_updates
from autopilot_watchdog.core.decide import Decision, decide, list_images_to_check
from autopilot_watchdog.core.memory import Memory
from autopilot_watchdog.core.observation import EngineDown, EngineView, Observation
from autopilot_watchdog.core.reasons import Reason
from autopilot_watchdog.core.slot_actions import Action, Outcome, Pull, RemoveContainer, Start, describe
from autopilot_watchdog.engine.engine_http import EngineRefusedError, EngineUnreachableError
from autopilot_watchdog.shell import host_fitness, observe
from autopilot_watchdog.shell.act import Executor
from autopilot_watchdog.shell.audit import Audit
from autopilot_watchdog.shell.fleet_store import FleetStore
from autopilot_watchdog.shell.state_file import StateStore
from autopilot_watchdog.shell.systemd_notify import extend_timeout

OBSERVE_TIMEOUT_S = 600.0  # s; each question has its own limit, this is for all of them
MAX_ROUNDS = 20  # rounds: pull, verify, pre-flight, start, and as much again for a fall-back


@dataclass(frozen=True, slots=True)
class PassReport:
    memory: Memory
    reasons: dict[str, Reason]
    problems: tuple[str, ...]  # why the pass was no success
    wake_at: float | None


class Watchdog:
    """Everything that is live: made once per process, used for one pass or many."""

    def __init__(self, config: Config, audit: Audit) -> None:
        self.config = config
        self.store = StateStore(Path(config.state))
        self.engines = observe.build_engines(config)
        self._audit = audit
        self._fleet_store = FleetStore(config) if config.consul else None
        self._executor = Executor(config, self.engines, self.store, audit, self._fleet_store)

    def observe(self, memory: Memory, *, with_fitness: bool = True, with_network: bool = True) -> Observation:
        """What is there now. `network`: registries and the fleet. They and the fitness are looked at once per pass."""
        views = {name: observe.observe_engine(self.config, engine, memory) for name, engine in self.engines.items()}
        boot, booted = host_fitness.read_boot()
        seen = Observation(views, boot=boot, booted=booted)
        now = time.time()
        if with_fitness:
            seen = replace(
                seen, unfit_reasons=tuple(host_fitness.find_unfit_reasons(self.config.fitness, self._list_disks(), now))
            )
        if not with_network:
            return seen
        keys = list_images_to_check(self.config, seen, memory, now)
        return replace(
            seen,
            tag_digests=observe.fetch_tag_digests(self.config, keys, memory, self.engines),
            fleet=self._fleet_store.read_fleet_state() if self._fleet_store else None,
        )

    def _list_disks(self) -> list[Path]:
        """Where room is needed: the state, and what the engines store, where that is a folder of this host."""
        roots = [Path(engine.storage_folder) for engine in self.engines.values() if engine.storage_folder]
        return [self.store.folder, *(root for root in roots if root.exists())]

    def plan_pass(self) -> Decision:
        """What a pass would begin with; nothing is done or remembered."""
        memory = self.store.peek()
        return decide(self.config, self.observe(memory), memory, time.time())

    def run_pass(self) -> PassReport:
        """One pass, alone. Raises StateError, Busy by way of the store."""
        memory = before = self.store.load()
        self.store.save(memory)  # who cannot remember must not act: a full disk would make a crash loop
        done: set[Action] = set()
        troubles: list[str] = []
        unfit: tuple[str, ...] = ()
        for turn in range(MAX_ROUNDS):
            with extend_timeout(OBSERVE_TIMEOUT_S):
                seen = self.observe(memory, with_fitness=turn == 0, with_network=turn == 0)
            unfit = seen.unfit_reasons or unfit
            if turn == 0:
                self._remove_leftover_preflights(seen)
            decision = decide(self.config, replace(seen, unfit_reasons=unfit), memory, time.time())
            memory = decision.memory
            fresh = [action for action in decision.actions if action not in done]
            before = self._record_changes(before, memory)
            self.store.save(memory)
            if not fresh:
                break
            tried, memory = self._execute_actions(fresh, seen, memory, troubles)
            done.update(tried)
            if not tried:
                break
        self._record_changes(before, memory)
        troubles += [view.sentence for view in seen.engines.values() if isinstance(view, EngineDown)]
        due = min((at for at in (decision.wake_at, decision.ask_registry_at) if at is not None), default=None)
        return PassReport(memory, decision.reasons, tuple(dict.fromkeys(troubles)), due)

    def _remove_leftover_preflights(self, observation: Observation) -> None:
        """Pre-flights that a watchdog left behind when it was killed."""
        for name, view in observation.engines.items():
            if isinstance(view, EngineView):
                with contextlib.suppress(
                    EngineUnreachableError, EngineRefusedError
                ):  # the pass will see that for itself
                    self.engines[name].remove_preflight_containers()

    def _execute_actions(
        self, actions: list[Action], observation: Observation, memory: Memory, problems: list[str]
    ) -> tuple[list[Action], Memory]:
        """Do them one by one; what came of each is on disk before the next. Returns what was tried."""
        tried: list[Action] = []
        unburied: set[str] = set()
        views = [view for view in observation.engines.values() if isinstance(view, EngineView)]
        containers = {container.id: container for view in views for container in view.containers}
        for action in actions:
            if isinstance(action, Start) and action.slot in unburied:
                continue  # its container may have come to life: another look first
            memory = memory_updates.record_action_start(memory, action, time.time())
            self.store.save(memory)
            began = time.monotonic()
            try:
                outcome = self._executor.execute(action, containers)
            except EngineUnreachableError as error:
                problems.append(str(error))
                return [], memory
            self._record_outcome(outcome, time.monotonic() - began)
            tried.append(action)
            if outcome.error and isinstance(action, RemoveContainer):
                unburied.add(action.slot)
            if outcome.error and isinstance(action, Pull | Start):
                problems.append(outcome.error)
            memory = memory_updates.apply_outcome(self.config, memory, outcome, time.time())
            self.store.save(memory)
        return tried, memory

    def _record_outcome(self, outcome: Outcome, duration_s: float) -> None:
        action, (what, said) = outcome.action, describe(outcome.action)
        fields = {key: getattr(action, key) for key in action.__dataclass_fields__ if key != "sentence"}
        if outcome.error:
            self._audit.record(f"{what}-failed", f"{said}: {outcome.error}", "warning", **fields, error=outcome.error)
        else:
            self._audit.record(
                what, f"{said} ({duration_s:.1f} s)", **fields, seconds=round(duration_s, 3), started=outcome.container
            )

    def _record_changes(self, before: Memory, after: Memory) -> Memory:
        """Say what changed since it was last said."""
        for name, slot in after.slots.items():
            if before.get_slot(name).code != slot.code:
                self._audit.record("slot", f"{name} {slot.code}: {slot.sentence}", slot=name, code=slot.code)
        for key, image in after.images.items():
            known = before.get_image(key)
            if image.head != known.head:
                self._audit.record("news", f"{key} is now {image.head}", image=key, digest=image.head)
            if image.trouble and image.trouble != known.trouble:
                self._audit.record("registry", image.trouble, "warning", image=key)
            if known.trouble and not image.trouble:
                self._audit.record("registry", f"answers again for {key}", image=key)
            for digest in image.quarantine.keys() - known.quarantine.keys():
                reason_given = image.quarantine[digest].reason
                self._audit.record("quarantine", f"{digest}: {reason_given}", "error", image=key, digest=digest)
            for digest in known.quarantine.keys() - image.quarantine.keys():
                self._audit.record("acquitted", f"{digest} may be started again", "warning", image=key, digest=digest)
            if image.last_good != known.last_good:
                self._audit.record("promoted", f"{image.last_good or 'nothing'} is the good one of {key}", image=key)
        if after.urgency != before.urgency:
            said = f'the fleet\'s key says "{after.urgency}"' if after.urgency else "the fleet's key is gone"
            self._audit.record("urgency", said, "warning", urgency=after.urgency)
        return after
