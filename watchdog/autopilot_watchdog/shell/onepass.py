"""One pass: rounds of look, decide, act, until nothing is left to do."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass, replace
from pathlib import Path

from autopilot_watchdog.config.model import Config
from autopilot_watchdog.core import learning
from autopilot_watchdog.core.actions import Action, Bury, Outcome, Pull, Start, described
from autopilot_watchdog.core.decide import Decision, decide, heads_wanted
from autopilot_watchdog.core.memory import Memory
from autopilot_watchdog.core.observation import EngineDown, EngineView, Observation
from autopilot_watchdog.core.reasons import Reason
from autopilot_watchdog.engine.client import EngineRefused, EngineUnreachable
from autopilot_watchdog.shell import fitness, looking
from autopilot_watchdog.shell.acting import Hands
from autopilot_watchdog.shell.audit import Audit
from autopilot_watchdog.shell.consul import ConsulKV
from autopilot_watchdog.shell.notify import lasting
from autopilot_watchdog.shell.state import Store

LOOK = 600.0  # s; each question has its own limit, this is for all of them
LONGEST = 20  # rounds: pull, verify, pre-flight, start, and as much again for a fall-back


@dataclass(frozen=True, slots=True)
class Report:
    memory: Memory
    reasons: dict[str, Reason]
    troubles: tuple[str, ...]  # why the pass was no success
    wake: float | None


class Watchdog:
    """Everything that is live: made once per process, used for one pass or many."""

    def __init__(self, config: Config, audit: Audit) -> None:
        self.config = config
        self.store = Store(Path(config.state))
        self.engines = looking.engines(config)
        self._audit = audit
        self._consul = ConsulKV(config) if config.consul else None
        self._hands = Hands(config, self.engines, self.store, audit, self._consul)

    def look(self, memory: Memory, *, fitness_too: bool = True, network: bool = True) -> Observation:
        """What is there now. `network`: registries and the fleet. They and the fitness are looked at once per pass."""
        views = {name: looking.view(self.config, engine, memory) for name, engine in self.engines.items()}
        boot, booted = fitness.booted()
        seen = Observation(views, boot=boot, booted=booted)
        now = time.time()
        if fitness_too:
            seen = replace(seen, unfit=tuple(fitness.problems(self.config.fitness, self._disks(), now)))
        if not network:
            return seen
        keys = heads_wanted(self.config, seen, memory, now)
        return replace(
            seen,
            heads=looking.heads(self.config, keys, memory, self.engines),
            fleet=self._consul.fleet() if self._consul else None,
        )

    def _disks(self) -> list[Path]:
        """Where room is needed: the state, and what the engines store, where that is a folder of this host."""
        roots = [Path(engine.root) for engine in self.engines.values() if engine.root]
        return [self.store.folder, *(root for root in roots if root.exists())]

    def plan(self) -> Decision:
        """What a pass would begin with; nothing is done or remembered."""
        memory = self.store.peek()
        return decide(self.config, self.look(memory), memory, time.time())

    def run(self) -> Report:
        """One pass, alone. Raises StateError, Busy by way of the store."""
        memory = before = self.store.load()
        self.store.save(memory)  # who cannot remember must not act: a full disk would make a crash loop
        done: set[Action] = set()
        troubles: list[str] = []
        unfit: tuple[str, ...] = ()
        for turn in range(LONGEST):
            with lasting(LOOK):
                seen = self.look(memory, fitness_too=turn == 0, network=turn == 0)
            unfit = seen.unfit or unfit
            if turn == 0:
                self._clear(seen)
            decision = decide(self.config, replace(seen, unfit=unfit), memory, time.time())
            memory = decision.memory
            fresh = [action for action in decision.actions if action not in done]
            before = self._told(before, memory)
            self.store.save(memory)
            if not fresh:
                break
            tried, memory = self._act(fresh, seen, memory, troubles)
            done.update(tried)
            if not tried:
                break
        self._told(before, memory)
        troubles += [view.sentence for view in seen.engines.values() if isinstance(view, EngineDown)]
        due = min((at for at in (decision.wake, decision.ask) if at is not None), default=None)
        return Report(memory, decision.reasons, tuple(dict.fromkeys(troubles)), due)

    def _clear(self, seen: Observation) -> None:
        """Pre-flights that a watchdog left behind when it was killed."""
        for name, view in seen.engines.items():
            if isinstance(view, EngineView):
                with contextlib.suppress(EngineUnreachable, EngineRefused):  # the pass will see that for itself
                    self.engines[name].remove_trials()

    def _act(
        self, actions: list[Action], seen: Observation, memory: Memory, troubles: list[str]
    ) -> tuple[list[Action], Memory]:
        """Do them one by one; what came of each is on disk before the next. Returns what was tried."""
        tried: list[Action] = []
        unburied: set[str] = set()
        views = [view for view in seen.engines.values() if isinstance(view, EngineView)]
        containers = {container.id: container for view in views for container in view.containers}
        for action in actions:
            if isinstance(action, Start) and action.slot in unburied:
                continue  # its container may have come to life: another look first
            memory = learning.begun(memory, action, time.time())
            self.store.save(memory)
            began = time.monotonic()
            try:
                outcome = self._hands.do(action, containers)
            except EngineUnreachable as error:
                troubles.append(str(error))
                return [], memory
            self._note(outcome, time.monotonic() - began)
            tried.append(action)
            if outcome.error and isinstance(action, Bury):
                unburied.add(action.slot)
            if outcome.error and isinstance(action, Pull | Start):
                troubles.append(outcome.error)
            memory = learning.outcome(self.config, memory, outcome, time.time())
            self.store.save(memory)
        return tried, memory

    def _note(self, outcome: Outcome, took: float) -> None:
        action, (what, said) = outcome.action, described(outcome.action)
        fields = {key: getattr(action, key) for key in action.__dataclass_fields__ if key != "sentence"}
        if outcome.error:
            self._audit.note(f"{what}-failed", f"{said}: {outcome.error}", "warning", **fields, error=outcome.error)
        else:
            self._audit.note(
                what, f"{said} ({took:.1f} s)", **fields, seconds=round(took, 3), started=outcome.container
            )

    def _told(self, before: Memory, after: Memory) -> Memory:
        """Say what changed since it was last said."""
        for name, slot in after.slots.items():
            if before.slot(name).code != slot.code:
                self._audit.note("slot", f"{name} {slot.code}: {slot.sentence}", slot=name, code=slot.code)
        for key, image in after.images.items():
            known = before.image(key)
            if image.head != known.head:
                self._audit.note("news", f"{key} is now {image.head}", image=key, digest=image.head)
            if image.trouble and image.trouble != known.trouble:
                self._audit.note("registry", image.trouble, "warning", image=key)
            if known.trouble and not image.trouble:
                self._audit.note("registry", f"answers again for {key}", image=key)
            for digest in image.quarantine.keys() - known.quarantine.keys():
                reason_given = image.quarantine[digest].reason
                self._audit.note("quarantine", f"{digest}: {reason_given}", "error", image=key, digest=digest)
            for digest in known.quarantine.keys() - image.quarantine.keys():
                self._audit.note("acquitted", f"{digest} may be started again", "warning", image=key, digest=digest)
            if image.last_good != known.last_good:
                self._audit.note("promoted", f"{image.last_good or 'nothing'} is the good one of {key}", image=key)
        if after.urgency != before.urgency:
            said = f'the fleet\'s key says "{after.urgency}"' if after.urgency else "the fleet's key is gone"
            self._audit.note("urgency", said, "warning", urgency=after.urgency)
        return after
