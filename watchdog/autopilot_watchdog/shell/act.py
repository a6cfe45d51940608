"""Carry out the actions of a decision, and report their outcomes."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Mapping
from dataclasses import replace

from autopilot_watchdog.bounded_command import CommandTimeoutError, run_bounded_command
from autopilot_watchdog.bounded_json import clip_text
from autopilot_watchdog.config.config_model import Config
from autopilot_watchdog.config.placeholders import fill_placeholders
from autopilot_watchdog.config.slot_config import Command, SlotGroup, fill_group, fill_group_for_host
from autopilot_watchdog.core.audit_events import AuditEvent
from autopilot_watchdog.core.lost_lives import LostLife
from autopilot_watchdog.core.memory import split_image_key
from autopilot_watchdog.core.observation import Container
from autopilot_watchdog.core.slot_actions import (
    Action,
    Drain,
    Outcome,
    Preflight,
    Preparation,
    Pull,
    RemoveContainer,
    RemoveImage,
    ShareGoodLife,
    ShareLives,
    ShareQuarantine,
    Start,
    Verify,
    WithdrawQuarantine,
)
from autopilot_watchdog.core.slot_channel import build_channel_env
from autopilot_watchdog.core.state_ownership import CONFIG_LABEL
from autopilot_watchdog.engine.engine import (
    SLOW_CALL_TIMEOUT_S,
    Engine,
    EngineRefusedError,
    EngineUnreachableError,
    PullError,
)
from autopilot_watchdog.registry import image_reference
from autopilot_watchdog.registry.credentials import CredentialsError, find_credentials
from autopilot_watchdog.registry.registry_client import RegistryError
from autopilot_watchdog.sentence_parts import describe_failed_command
from autopilot_watchdog.shell import last_words_reader, life_archive, observe
from autopilot_watchdog.shell.audit import Audit
from autopilot_watchdog.shell.fleet_store import FleetStore
from autopilot_watchdog.shell.folder_owner import give_folder
from autopilot_watchdog.shell.state_file import StateError, StateStore

MAX_ERROR_CHARS = 1000  # of an outcome in the memory
SHOWN_OUTPUT_LINES = 20  # of a failed life, in the audit log
HOST_STATUSES = (os.EX_TEMPFAIL, 126, 127)  # of a check on the host that cannot tell, or lacks a program it needs
MAX_OUTPUT_BYTES = 1 << 16  # of a check on the host: it may print what is in the image


class Executor:
    """Executor of actions; several threads may use it. EngineUnreachableError says that the host's state is unknown."""

    def __init__(
        self,
        config: Config,
        engines: Mapping[str, Engine],
        store: StateStore,
        audit: Audit,
        consul: FleetStore | None,
        *,
        config_path: str = "",
    ) -> None:
        self._config = config
        self._engines = engines
        self._store = store
        self._audit = audit
        self._consul = consul
        self._labels = {CONFIG_LABEL: config_path} if config_path else {}
        self._archive = life_archive.LifeArchive(store.folder)

    def execute(self, action: Action, containers: Mapping[str, Container]) -> Outcome:
        """Carry out one action.

        Args:
            action: The action.
            containers: The observed containers by id.

        Raises:
            EngineUnreachableError: The engine does not answer any more.
        """
        outcome = self._execute_action(action, containers)
        return replace(outcome, error=clip_text(outcome.error, MAX_ERROR_CHARS))

    def prepare(self, step: Preparation) -> Outcome:
        """Carry out a preparing step beside the passes; losing the engine is a failure like any other."""
        try:
            return self.execute(step, {})
        except EngineUnreachableError as error:
            return Outcome(step, str(error))

    def record_lost_life(self, lost: LostLife) -> None:
        """Keep a life whose container somebody removed, and end its registration in Consul, as after any other end."""
        folder = self._store.folder / "slots" / lost.slot
        gone = Container(lost.container, lost.name, lost.engine, lost.slot, lost.digest, lost.image, "dead")
        words = last_words_reader.attach_last_words(gone, folder).last_words
        if self._consul and (words is None or words.state == "running"):
            self._consul.force_leave(lost.slot)
        with contextlib.suppress(OSError):  # a full disk is told by the state itself
            self._archive.add(lost.slot, life_archive.build_lost_life(lost, words), "")
        self._audit.record(
            AuditEvent.CONTAINER_LOST, f"{lost.slot}: {lost.sentence}", "warning", slot=lost.slot, container=lost.name
        )

    def compute_time_limit_s(self, action: Action) -> float:
        """Compute the seconds until the action has certainly ended by itself."""
        calls = 2 * SLOW_CALL_TIMEOUT_S  # no action makes more than two slow calls
        match action:
            case Pull():
                return calls + 2 * self._config.registry.pull_timeout  # the last silence may be as long again
            case Verify() | Preflight():
                group = self._find_group(action)
                check = group.verify if isinstance(action, Verify) else group.preflight
                return calls + (check.timeout if check else 0.0)
        return calls

    def _execute_action(self, action: Action, containers: Mapping[str, Container]) -> Outcome:  # noqa: PLR0911  # one per action
        try:
            match action:
                case Pull():
                    return self._pull(action)
                case Verify():
                    return self._verify(action)
                case Preflight():
                    return self._run_preflight(action)
                case Start():
                    return self._start(action)
                case RemoveContainer():
                    return self._remove_container(action, containers[action.container])
                case Drain():
                    return self._drain(action, containers[action.container])
                case RemoveImage():
                    engine, reference = split_image_key(action.image)
                    self._engines[engine].remove_image(image_reference.get_repository(reference), action.digest)
                    return Outcome(action)
                case ShareQuarantine():
                    return Outcome(action, self._consul.share_quarantine(action) if self._consul else "no Consul")
                case ShareGoodLife(_, digest):
                    return Outcome(action, self._consul.share_good_life(digest) if self._consul else "no Consul")
                case ShareLives(_, digest, lives):
                    return Outcome(action, self._consul.share_lives(digest, lives) if self._consul else "no Consul")
                case WithdrawQuarantine(_, digest):
                    return Outcome(action, self._consul.withdraw_quarantine(digest) if self._consul else "no Consul")
        except (EngineRefusedError, StateError) as error:  # a slot's folder that cannot be made is that slot's trouble
            return Outcome(action, str(error))

    def _pull(self, pull: Pull) -> Outcome:
        engine, reference = split_image_key(pull.image)
        try:
            registry = observe.build_registry_client(self._config, reference)
            host, path = image_reference.split_host_and_path(reference)
            login = find_credentials(host, self._config.registry.auth_file, os.environ, path)
            self._engines[engine].pull_image(
                image_reference.get_repository(reference),
                pull.digest,
                auth=login.build_auth_payload(registry.host) if login else None,
                timeout=self._config.registry.pull_timeout,
            )
        except (PullError, RegistryError, CredentialsError) as error:
            return Outcome(pull, str(error))
        return Outcome(pull)

    def _verify(self, verify: Verify) -> Outcome:
        group = self._find_group(verify)
        if group.verify is None:
            return Outcome(verify, "the configuration has no such check any more")
        name = f"{image_reference.get_repository(group.image)}@{verify.digest}"
        error, blames_image = _run_hook(group.verify, name, verify.digest)
        return Outcome(verify, error, blames_image=blames_image)

    def _run_preflight(self, preflight: Preflight) -> Outcome:
        group = self._find_group(preflight)
        if group.preflight is None:
            return Outcome(preflight, "the configuration has no such check any more")
        name = f"{image_reference.get_repository(group.image)}@{preflight.digest}"
        values = {"image": name, "digest": preflight.digest, "host": self._config.host}
        words = tuple(fill_placeholders(word, values) for word in group.preflight.exec)
        status, output = self._engines[group.engine].run_preflight(
            fill_group_for_host(group, self._config.host), preflight.digest, words, group.preflight.timeout
        )
        if status == 0:
            return Outcome(preflight)
        sentence = describe_failed_command("the pre-flight", status, output)
        return Outcome(preflight, sentence, blames_image=status != os.EX_TEMPFAIL)

    def _find_group(self, check: Verify | Preflight) -> SlotGroup:
        """Return the group of slots that asks for a check, with the image to check."""
        _, reference = split_image_key(check.image)
        groups = [group for group in self._config.slots if check.group in ("", group.name)]
        return replace(next((one for one in groups if one.image_key == check.image), groups[0]), image=reference)

    def _start(self, start: Start) -> Outcome:
        group, number = self._config.map_slots_to_groups()[start.slot]
        told = build_channel_env(group, start.image, start.reason)
        if start.image:
            group = replace(group, image=split_image_key(start.image)[1])
        group = replace(group, labels={**group.labels, **self._labels}, env={**group.env, **told})
        folder = self._prepare_folder(start.slot, self._engines[group.engine]) if group.state else None
        id = self._engines[group.engine].start_container(
            group, number, start.digest, host=self._config.host, state_folder=folder
        )
        return Outcome(start, container=id)

    def _prepare_folder(self, slot: str, engine: Engine) -> str:
        """Return the slot's folder, which root inside of the container can write; say so if it cannot."""
        folder = self._store.ensure_slot_folder(slot)
        if error := give_folder(folder, engine.find_container_root()):
            sentence = f"the containers of {slot} cannot write their last words: {error}"
            self._audit.record(AuditEvent.LAST_WORDS_FAILED, sentence, "warning", slot=slot)
        return str(folder)

    def _remove_container(self, removal: RemoveContainer, container: Container) -> Outcome:
        engine = self._engines[removal.engine]
        self._complete_last_words(removal, container)
        self._archive_life(removal, container, engine)
        if (
            self._consul
            and container.started
            and (container.last_words is None or container.last_words.state == "running")
        ):
            self._consul.force_leave(removal.slot)  # its supervisor died before it could deregister
        engine.remove_container(container.id)
        return Outcome(removal)

    def _archive_life(self, removal: RemoveContainer, container: Container, engine: Engine) -> None:
        """Keep the life and its last output; the container is removed with or without them."""
        output = ""
        with contextlib.suppress(EngineRefusedError, EngineUnreachableError):  # a log alone may be damaged
            output = engine.read_logs(container.id, life_archive.MAX_LOG_LINES)
        if removal.verdict == "failed":
            last = "\n".join(output.splitlines()[-SHOWN_OUTPUT_LINES:])
            sentence = f"{container.name} printed last: {last}" if last.strip() else f"{container.name} printed nothing"
            self._audit.record(AuditEvent.CONTAINER_OUTPUT, sentence, slot=removal.slot)
        if container.started:
            with contextlib.suppress(OSError):  # a full disk is told by the state itself
                self._archive.add(removal.slot, life_archive.build_life(container, removal), output)

    def _complete_last_words(self, removal: RemoveContainer, container: Container) -> None:
        folder = self._store.folder / "slots" / removal.slot
        ended = container.ended or time.time()
        try:
            if last_words_reader.complete_last_words(container, folder, removal.code, removal.sentence, ended):
                sentence = f"the watchdog completed the last words of {container.name}: {removal.code}"
                self._audit.record(AuditEvent.LAST_WORDS_COMPLETED, sentence, slot=removal.slot)
        except OSError as error:
            sentence = f"cannot complete the last words of {container.name}: {error}"
            self._audit.record(AuditEvent.LAST_WORDS_FAILED, sentence, "warning", slot=removal.slot)

    def _drain(self, drain: Drain, container: Container) -> Outcome:
        command = container.claims.drain  # of the configuration that the container was started with
        slots = self._config.map_slots_to_groups()
        if drain.slot in slots:
            group, number = slots[drain.slot]
            command = fill_group(group, self._config.host, number).drain
        status, output = self._engines[drain.engine].execute_command(drain.container, command)
        if status == 0:
            return Outcome(drain)
        return Outcome(drain, describe_failed_command(command, status, output))


def _run_hook(command: Command, image: str, digest: str) -> tuple[str, bool]:
    """Run a check of the site on the host.

    Returns:
        A sentence about the failure ("" after a success), and True if the check refused the image.
    """
    words = [fill_placeholders(word, {"image": image, "digest": digest}) for word in command.exec]
    env = {**os.environ, "AUTOPILOT_IMAGE": image, "AUTOPILOT_IMAGE_DIGEST": digest}
    try:
        done = run_bounded_command(words, timeout=command.timeout, env=env, max_bytes=MAX_OUTPUT_BYTES)
    except CommandTimeoutError as error:
        return str(error), False
    except OSError as error:
        return f"cannot run {words[0]}: {error.strerror}", False
    if done.status == 0:
        return "", False
    sentence = describe_failed_command(words[0], done.status, done.error_output.strip() or done.output)
    return sentence, done.status not in HOST_STATUSES
