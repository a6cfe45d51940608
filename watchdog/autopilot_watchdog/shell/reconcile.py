"""Run one pass: rounds of look, decide, act, until nothing is left to do.

Theory of operation. Pulls, signature checks, pre-flights and questions to registries run in threads beside the passes.
A pass begins them, and takes the results of those that have ended since. So a pass lasts as long as starts and removals
last, and only that long the lock of the state is held. Memory and state file belong to the thread of the passes. What
is under way is part of the observation, in this process or another one, so a decision never plans it a second time. A
watchdog that is killed loses nothing but the results of that work: the next one looks at the engine and goes on.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from autopilot_watchdog.config.config_model import Config
from autopilot_watchdog.core import engine_memory, memory_updates
from autopilot_watchdog.core.audit_events import ACTION_EVENTS, AuditEvent, describe_action
from autopilot_watchdog.core.canary_changes import list_promotion_changes
from autopilot_watchdog.core.decide import Decision, decide, list_images_to_check
from autopilot_watchdog.core.fleet_good import list_good_to_share
from autopilot_watchdog.core.image_troubles import find_stuck_digests, find_worst_failures
from autopilot_watchdog.core.memory import ImageMemory, Memory
from autopilot_watchdog.core.observation import Container, EngineView, FleetState, Observation
from autopilot_watchdog.core.reasons import Reason
from autopilot_watchdog.core.slot_actions import Action, Outcome, Preflight, Preparation, Pull, RemoveContainer, Start
from autopilot_watchdog.core.state_ownership import (
    ForeignConfigError,
    check_former_folder,
    claim_state,
    select_strays,
)
from autopilot_watchdog.core.suspicion_events import list_suspicion_changes
from autopilot_watchdog.engine.engine import SLOW_CALL_TIMEOUT_S, EngineRefusedError, EngineUnreachableError
from autopilot_watchdog.engine.engine_registry import create_engine, create_engines
from autopilot_watchdog.sentence_parts import format_repeats
from autopilot_watchdog.shell import host_fitness, observe
from autopilot_watchdog.shell.act import Executor
from autopilot_watchdog.shell.action_batch import ActionReport, EngineLost, execute_batch, split_into_batches
from autopilot_watchdog.shell.audit import Audit
from autopilot_watchdog.shell.config_owner import compare_with_owner, is_file_gone
from autopilot_watchdog.shell.fleet_questions import FleetQuestions
from autopilot_watchdog.shell.fleet_store import FleetStore
from autopilot_watchdog.shell.former_textfile import leave_textfile
from autopilot_watchdog.shell.registry_questions import RegistryQuestions
from autopilot_watchdog.shell.state_file import StateStore
from autopilot_watchdog.shell.systemd_notify import extend_timeout
from autopilot_watchdog.shell.wake_pipe import is_watch_listening
from autopilot_watchdog.shell.wake_queue import WakeReason
from autopilot_watchdog.shell.work_claims import WorkClaims
from autopilot_watchdog.shell.work_pool import WorkPool

OBSERVE_TIMEOUT_S = 600.0  # for all requests of one look together; each has its own limit, too
LOCK_WAIT_S = 2 * 3600.0  # more than another watchdog's pass can last
ASK_PAUSE_S = 1.0  # between a pass without questions and one that asks the registries
WAIT_PERIOD_S = 60.0  # between advances while a pull is under way: the timer starts no second `run` meanwhile
EVENT_LAG_S = 0.1  # an engine may tell an end a moment before its list of containers shows it
MAX_ROUNDS = 20  # pull, verify, pre-flight, start, and the same for a fall-back, with a margin


@dataclass(frozen=True, slots=True)
class PassReport:
    """Result of a pass."""

    memory: Memory
    reasons: dict[str, Reason]  # by slot
    problems: tuple[str, ...]  # sentences; with any, the pass was no success
    wake_at: float | None  # epoch seconds of the next due action; None for none
    success_before: float = 0.0  # the last success before it, in epoch seconds


class Watchdog:
    """Live parts of the watchdog, created once per process and used for one pass or many."""

    def __init__(
        self,
        config: Config,
        audit: Audit,
        wake: Callable[[], None] = lambda: None,
        config_path: Path | None = None,
    ) -> None:
        """Create the parts.

        Args:
            config: The configuration.
            audit: The audit log.
            wake: Called from another thread when work beside the passes has ended, so that a pass takes its result.
            config_path: The configuration's file; None if it has none, so the state folder is used in any case.
        """
        self.config = config
        self._config_path = os.path.abspath(config_path) if config_path else ""
        self.store = StateStore(Path(config.state))
        self.engines = create_engines(config)
        self._audit = audit
        self._work_ended = threading.Event()
        self._wake = wake
        self._fleet_store = FleetStore(config) if config.consul else None
        self._fleet_questions = self._build_fleet_questions()
        self._executor = self._create_executor()
        self._claims = WorkClaims(self.store.folder)
        self._preparations: WorkPool[Preparation, Outcome] = WorkPool("preparation", self._tell_end_of_work)
        self._questions = RegistryQuestions(self.engines, self._tell_end_of_work)
        self._looked_at = 0.0  # begin of the last look at the engines, by the monotonic clock
        self.config_refused_since = 0.0  # see ConfigSource

    def use_config(self, config: Config) -> None:
        """Use another configuration from the next pass on; engines with the same socket stay connected.

        Work beside the passes goes on with the configuration that it began with.
        """
        before, self.engines = self.config.list_engines(), dict(self.engines)
        for name, address in config.list_engines().items():
            if name not in self.engines or address != before.get(name):
                self.engines[name] = create_engine(name, address, config.state)
        self.config = config
        self._fleet_store = FleetStore(config) if config.consul else None
        self._fleet_questions = self._build_fleet_questions()
        self._executor = self._create_executor()
        self._questions.use_engines(self.engines)

    def _build_fleet_questions(self) -> FleetQuestions | None:
        return FleetQuestions(self._fleet_store, self._tell_end_of_work) if self._fleet_store else None

    def _create_executor(self) -> Executor:
        return Executor(
            self.config, self.engines, self.store, self._audit, self._fleet_store, config_path=self._config_path
        )

    def _tell_end_of_work(self) -> None:
        self._work_ended.set()
        self._wake()

    @property
    def is_work_pending(self) -> bool:
        """True if work of this process is under way beside the passes, or has a result that no pass has taken."""
        fleet = self._fleet_questions
        return bool(self._preparations.pending_keys) or self._questions.are_pending or bool(fleet and fleet.is_pending)

    def is_news(self, reason: WakeReason, at: float) -> bool:
        """Return True if another advance can learn something from a reason.

        The last look shows all that an engine told before it, such as the removals of the advance itself, and the
        results of work that ended early enough are taken already.

        Args:
            reason: The reason.
            at: Its moment by the monotonic clock.
        """
        match reason:
            case WakeReason.ENGINE:
                return at > self._looked_at - EVENT_LAG_S
            case WakeReason.WORK:
                has_fleet_answer = self._fleet_questions is not None and self._fleet_questions.has_answer
                return self._preparations.has_ended_work or self._questions.has_answers or has_fleet_answer
            case WakeReason.ORDER | WakeReason.CONFIG:
                return True

    def observe(
        self, memory: Memory, *, with_fitness: bool = True, with_network: bool = True, patience_s: float | None = None
    ) -> Observation:
        """Look at the host.

        Args:
            memory: The memory, for the digests to look for.
            with_fitness: True to check the host's fitness, too.
            with_network: True to ask registries and the fleet, too.
            patience_s: Seconds to wait for the registries and the fleet each; None for `registry.patience`.
        """
        names = [*self.config.list_engines(), *self._connect_former_engines(memory)]
        for unused in self.engines.keys() - set(names):
            del self.engines[unused]
        self._looked_at = time.monotonic()
        views = {name: observe.observe_engine(self.config, self.engines[name], memory) for name in names}
        boot, booted = host_fitness.read_boot()
        in_flight = self._claims.list_claimed()
        observation = Observation(views, boot=boot, booted=booted, cpus=os.cpu_count() or 0, in_flight=in_flight)
        now = time.time()
        if with_fitness:
            reasons = host_fitness.find_unfit_reasons(self.config.fitness, self._list_disks(), now)
            observation = replace(observation, unfit_reasons=tuple(reasons))
        if with_network:
            keys = list_images_to_check(self.config, observation, memory, now)
            patience_s = self.config.registry.patience if patience_s is None else patience_s
            self._questions.ask(self.config, keys, memory, patience_s=patience_s)
            if self._fleet_questions:
                self._fleet_questions.ask(memory, patience_s=patience_s)
        fleet_questions = self._fleet_questions
        if fleet_questions is None:
            return replace(observation, tag_digests=self._questions.take_answers())
        # the fleet may have quarantined a digest that a registry's answer brings: both are looked at together
        has_answers = with_network or self._questions.has_answers
        if has_answers and not with_network:
            fleet_questions.ask(memory, patience_s=self.config.registry.patience)
        fleet_questions.ask_again_if_outdated(memory, patience_s=self.config.registry.patience)
        can_take = has_answers and not fleet_questions.is_unanswered
        answers = self._questions.take_answers() if can_take else {}
        return replace(observation, fleet=fleet_questions.take_answer(memory), tag_digests=answers)

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

    def refuse_foreign_state(self) -> None:
        """Raise ForeignConfigError if a pass would be refused; remember nothing."""
        self._claim_state(self.store.peek())

    def explain_refusal(self) -> str:
        """Return a sentence if every pass would be refused; "" if not."""
        try:
            self.refuse_foreign_state()
        except ForeignConfigError as error:
            return f"every pass is refused: {error}"
        return ""

    def _claim_state(self, memory: Memory, *, only_looks: bool = False) -> Memory:
        """Return the memory as that of our configuration file.

        Args:
            memory: The memory.
            only_looks: Nothing is done after it, so a `watch` with another file does not matter.

        Raises:
            ForeignConfigError: The state folder belongs to another file, or containers run under another folder.
        """
        if not self._config_path:
            return memory
        claim = compare_with_owner(
            Path(self._config_path),
            memory.config_file,
            is_in_use=not only_looks and is_watch_listening(self.store.folder),
        )
        claimed = claim_state(memory, claim, self.config.state)
        if claimed.state_folder == self.config.state:
            return claimed
        return check_former_folder(claimed, self.config.state, self._list_strays(claimed.config_file))

    def _list_strays(self, config_file: str) -> dict[str, str] | None:
        """Return the containers of our configuration file under other state folders; None if an engine is silent."""
        strays: dict[str, str] = {}
        is_silent = False
        with extend_timeout(OBSERVE_TIMEOUT_S):
            for name in self.config.list_engines():
                try:
                    found = self.engines[name].list_foreign_containers()
                    strays |= select_strays(found, config_file, self.config.map_slots_to_groups(), is_file_gone)
                except (EngineUnreachableError, EngineRefusedError, ValueError):
                    is_silent = True  # the containers of the others are enough for a refusal
        return strays or (None if is_silent else strays)

    def plan_pass(self) -> Decision:
        """Return the decision of a pass that would begin now; do and remember nothing.

        Raises:
            ForeignConfigError: Containers of this configuration run under another state folder.
        """
        memory = self._claim_state(self.store.peek(), only_looks=True)
        observation = self.observe(memory, patience_s=observe.PASS_TIMEOUTS * self.config.registry.timeout)
        return decide(self.config, observation, memory, time.time())

    def run_pass(
        self, use_report: Callable[[PassReport], None] = lambda report: None, *, waits: bool = False
    ) -> PassReport:
        """Run a pass to its end: do all that is possible now, then wait for the work beside it and use the results.

        The lock of the state is held during each advance, not while waiting: other watchdogs and verbs may work.

        Args:
            use_report: Called with the report of each advance, under the lock.
            waits: True to wait for another watchdog's advance.

        Raises:
            AlreadyRunningError: Another watchdog holds the lock at the beginning, and we do not wait.
            ForeignConfigError: The state folder belongs to another configuration file.
            StateError: The memory cannot be read or written.
        """
        with self.store.lock(wait=waits):
            report = self.advance()
            use_report(report)
        while self.is_work_pending:
            due = time.time() + WAIT_PERIOD_S
            with extend_timeout(WAIT_PERIOD_S):
                self._work_ended.wait(max(0.0, min(due, report.wake_at or due) - time.time()))
            self._work_ended.clear()
            with extend_timeout(LOCK_WAIT_S), self.store.lock(wait=True):
                report = self.advance(asks_registries=False, earlier=report)
                use_report(report)
        return report

    def advance(self, *, asks_registries: bool = True, earlier: PassReport | None = None) -> PassReport:
        """Do all that is possible now, without waiting for work beside the pass; the caller holds the store's lock.

        Args:
            asks_registries: True to ask registries with answers that are too old; False to take only answers that come.
            earlier: The report of an earlier advance of the same pass; its problems count.

        Raises:
            ForeignConfigError: The state folder belongs to another configuration file.
            StateError: The memory cannot be read or written.
        """
        loaded = self.store.load()
        memory = before = replace(self._claim_state(loaded), config_refused=self.config_refused_since)
        if loaded.config_file not in {"", memory.config_file}:
            sentence = f"{self.config.state} belongs to {memory.config_file} now, no longer to {loaded.config_file}"
            self._audit.record(AuditEvent.CONFIG_MOVED, sentence, "warning")
        memory, metrics_trouble = leave_textfile(memory, self.config.metrics.textfile)
        if metrics_trouble:
            self._audit.record(AuditEvent.METRICS_FAILED, metrics_trouble, "warning")
        last_success = earlier.success_before if earlier else memory.last_success
        self._claims.remove_leftovers()
        done: set[Action] = set()
        problems = list(earlier.problems) if earlier else []
        unfit: tuple[str, ...] = ()
        fleet: FleetState | None = None
        for number in range(MAX_ROUNDS):
            is_first = number == 0
            memory = self._apply_finished_preparations(memory, problems)
            with extend_timeout(OBSERVE_TIMEOUT_S):
                observation = self.observe(memory, with_fitness=is_first, with_network=is_first and asks_registries)
            unfit = observation.unfit_reasons or unfit
            fleet = observation.fleet or fleet
            if is_first:
                self._remove_leftover_preflights(observation)
            decision = decide(self.config, replace(observation, unfit_reasons=unfit), memory, time.time())
            memory = decision.memory
            new_actions = [action for action in decision.actions if action not in done]
            self.store.save(memory)  # before any action: on a full disk it could be repeated without end
            for lost in decision.lost_lives:
                with extend_timeout(SLOW_CALL_TIMEOUT_S):
                    self._executor.record_lost_life(lost)
            self._record_changes(before, memory)
            before = memory
            if not new_actions:
                break
            tried, memory = self._execute_actions(new_actions, observation, memory, problems)
            done.update(tried)
            if not tried:
                break
        self._record_changes(before, memory)
        self._share_good_digests(memory, fleet)
        problems += engine_memory.list_silent_engines(self.config, memory, observation)
        if problems:
            memory = replace(memory, last_success=last_success)
            self.store.save(memory)
        wake_at = self._compute_wake_time(decision, observation)
        return PassReport(memory, decision.reasons, tuple(dict.fromkeys(problems)), wake_at, last_success)

    def _compute_wake_time(self, decision: Decision, observation: Observation) -> float | None:
        """Return the epoch seconds of the next useful advance; None if only an event can make one useful.

        An answer of a registry may have become too old since the registries were asked, or they were not asked.
        """
        now = time.time()
        overdue = set(list_images_to_check(self.config, observation, decision.memory, now))
        soon = now + ASK_PAUSE_S if overdue - self._questions.pending_keys else None
        return min((at for at in (decision.wake_at, decision.ask_registry_at, soon) if at is not None), default=None)

    def _apply_finished_preparations(self, memory: Memory, problems: list[str]) -> Memory:
        """Return the memory, which is saved, with the outcomes of the preparing steps that have ended."""
        for work in self._preparations.take_finished():
            self._record_outcome(work.result, work.seconds)
            if work.result.error and isinstance(work.key, Pull):
                problems.append(work.result.error)
            memory = memory_updates.apply_outcome(self.config, memory, work.result, work.ended)
            self.store.save(memory)
            self._claims.release(work.key)  # not before: another watchdog would try again at once
        return memory

    def _share_good_digests(self, memory: Memory, fleet: FleetState | None) -> None:
        """Tell the fleet the digests that proved good here and that it does not know."""
        if self._fleet_store is None:
            return
        for good in list_good_to_share(self.config, memory, fleet):
            error = self._fleet_store.share_good_digests(good)
            sentence = f"the fleet knows {good.digests[0]} of {good.reference} as good"
            if error:
                sentence = f"cannot tell the fleet that {good.digests[0]} is good: {error}"
            event = AuditEvent.SHARE_GOOD_FAILED if error else AuditEvent.SHARE_GOOD
            self._audit.record(event, sentence, "warning" if error else "info", digest=good.digests[0])

    def _remove_leftover_preflights(self, observation: Observation) -> None:
        """Remove the pre-flight containers of a killed watchdog, unless a pre-flight is under way."""
        if any(isinstance(step, Preflight) for step in observation.in_flight):
            return
        for name, view in observation.engines.items():
            if isinstance(view, EngineView):
                # a failing engine is the business of the pass itself
                with contextlib.suppress(EngineUnreachableError, EngineRefusedError):
                    self.engines[name].remove_preflight_containers()

    def _execute_actions(
        self, actions: list[Action], observation: Observation, memory: Memory, problems: list[str]
    ) -> tuple[list[Action], Memory]:
        """Begin the preparing steps and carry out the other actions, removals first and starts last.

        Returns:
            The actions that were tried (none if an engine was lost), and the new memory.
        """
        tried: list[Action] = []
        for action in actions:
            if isinstance(action, Preparation):
                memory = self._begin_preparation(action, memory)
                tried.append(action)
        views = [view for view in observation.engines.values() if isinstance(view, EngineView)]
        containers = {container.id: container for view in views for container in view.containers}
        unremoved: set[str] = set()  # slots with a container that may be alive again: look before a start
        lost = False
        for batch in split_into_batches(actions):
            possible = [action for action in batch if not (isinstance(action, Start) and action.slot in unremoved)]
            for report in self._execute_batch([] if lost else possible, containers):
                if isinstance(report, EngineLost):
                    problems.append(report.sentence)
                    lost = True
                    continue
                action, error = report.outcome.action, report.outcome.error
                self._record_outcome(report.outcome, report.seconds)
                tried.append(action)
                if error and isinstance(action, RemoveContainer):
                    unremoved.add(action.slot)
                if error and isinstance(action, Start):
                    problems.append(error)
                memory = memory_updates.apply_outcome(self.config, memory, report.outcome, report.ended)
                self.store.save(memory)
        return [] if lost else tried, memory

    def _begin_preparation(self, step: Preparation, memory: Memory) -> Memory:
        """Begin a preparing step beside the passes; return the memory. It is saved in case we are killed."""
        memory = memory_updates.record_action_start(memory, step, time.time())
        self.store.save(memory)
        self._claims.claim(step, time.time())
        self._preparations.start(step, partial(self._executor.prepare, step))
        return memory

    def _execute_batch(
        self, actions: Sequence[Action], containers: Mapping[str, Container]
    ) -> Iterator[ActionReport | EngineLost]:
        """Carry out actions that do not depend on each other, and yield their reports in order."""
        limit_s = max(map(self._executor.compute_time_limit_s, actions), default=0.0)
        reports = execute_batch(
            actions, partial(self._executor.execute, containers=containers), self.config.parallel_starts
        )
        while True:
            with extend_timeout(limit_s):  # the next one is under way at the latest when the one before has ended
                report = next(reports, None)
            if report is None:
                return
            yield report

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
        for sentence, event, digest in list_promotion_changes(before, after):
            self._audit.record(event, sentence, "warning", digest=digest)
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
        for digest in find_stuck_digests(before, after):
            failures = find_worst_failures(after, digest)
            sentence = (
                f"the preparation of {digest} of {key} failed {format_repeats(failures.tries)}: {failures.trouble}"
            )
            self._audit.record(AuditEvent.PULL_STUCK, sentence, "error", image=key, digest=digest)
        for event, digest, sentence in list_suspicion_changes(before, after):
            self._audit.record(event, sentence, "warning", image=key, digest=digest)
        for digest in after.quarantine.keys() - before.quarantine.keys():
            sentence = f"{digest} is quarantined: {after.quarantine[digest].reason}"
            self._audit.record(AuditEvent.QUARANTINE, sentence, "error", image=key, digest=digest)
        for digest in before.quarantine.keys() - after.quarantine.keys():
            sentence = f"{digest} may be started again"
            self._audit.record(AuditEvent.RELEASE, sentence, "warning", image=key, digest=digest)
        if after.last_good != before.last_good:
            sentence = f"the last good digest of {key} is {after.last_good or 'unknown'}"
            self._audit.record(AuditEvent.PROMOTE, sentence, image=key, digest=after.last_good)
