"""Do what was decided, and say what came of it."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Mapping

from autopilot_watchdog.config.model import Command, Config
from autopilot_watchdog.core.actions import (
    Action,
    Bury,
    Drain,
    Outcome,
    Preflight,
    Pull,
    RemoveImage,
    ShareQuarantine,
    Start,
    Verify,
)
from autopilot_watchdog.core.observation import Container
from autopilot_watchdog.engine.client import EngineRefused
from autopilot_watchdog.engine.engine import SLOW, Engine, PullFailed
from autopilot_watchdog.registry import reference
from autopilot_watchdog.registry.client import RegistryTrouble
from autopilot_watchdog.registry.credentials import CredentialsError, find
from autopilot_watchdog.shell import looking, words
from autopilot_watchdog.shell.audit import Audit
from autopilot_watchdog.shell.consul import ConsulKV
from autopilot_watchdog.shell.notify import lasting
from autopilot_watchdog.shell.state import Store


class Hands:
    """Carries out actions. EngineUnreachable goes through: then nothing more is known, and the pass ends."""

    def __init__(
        self, config: Config, engines: Mapping[str, Engine], store: Store, audit: Audit, consul: ConsulKV | None
    ) -> None:
        self._config = config
        self._engines = engines
        self._store = store
        self._audit = audit
        self._consul = consul

    def do(self, action: Action, containers: Mapping[str, Container]) -> Outcome:
        with lasting(self._longest(action)):
            return self._do(action, containers)

    def _longest(self, action: Action) -> float:
        """Seconds after which the action has ended by itself."""
        calls = 2 * SLOW  # at most so many slow calls to the engine
        match action:
            case Pull():
                return calls + 2 * self._config.registry.pull_timeout  # the last silence may be as long again
            case Verify(image) | Preflight(image):
                group = self._config.group_for(image)
                check = group.verify if isinstance(action, Verify) else group.preflight
                return calls + (check.timeout if check else 0.0)
        return calls

    def _do(self, action: Action, containers: Mapping[str, Container]) -> Outcome:  # noqa: PLR0911  # one per action
        try:
            match action:
                case Pull():
                    return self._pull(action)
                case Verify():
                    return self._verify(action)
                case Preflight():
                    return self._preflight(action)
                case Start():
                    return self._start(action)
                case Bury():
                    return self._bury(action, containers[action.container])
                case Drain():
                    return self._drain(action)
                case RemoveImage():
                    group = self._config.group_for(action.image)
                    self._engines[group.engine].remove_image(reference.repository(group.image), action.digest)
                    return Outcome(action)
                case ShareQuarantine():
                    return Outcome(action, self._consul.share(action) if self._consul else "no Consul")
        except EngineRefused as error:
            return Outcome(action, str(error))

    def _pull(self, pull: Pull) -> Outcome:
        group = self._config.group_for(pull.image)
        try:
            registry = looking.registry(self._config, group.image)
            found = find(registry.host, self._config.registry.auth_file, os.environ)
            self._engines[group.engine].pull(
                reference.repository(group.image),
                pull.digest,
                auth=found.for_engine(registry.host) if found else None,
                timeout=self._config.registry.pull_timeout,
            )
        except (PullFailed, RegistryTrouble, CredentialsError) as error:
            return Outcome(pull, str(error))
        return Outcome(pull)

    def _verify(self, verify: Verify) -> Outcome:
        group = self._config.group_for(verify.image)
        assert group.verify is not None
        name = f"{reference.repository(group.image)}@{verify.digest}"
        error, blames = _run(group.verify, name, verify.digest)
        return Outcome(verify, error, blames_image=blames)

    def _preflight(self, preflight: Preflight) -> Outcome:
        group = self._config.group_for(preflight.image)
        assert group.preflight is not None
        status, said = self._engines[group.engine].run_trial(
            group, preflight.digest, group.preflight.exec, group.preflight.timeout
        )
        if status == 0:
            return Outcome(preflight)
        return Outcome(preflight, f"the pre-flight ended with status {status}: {said[-300:]}", blames_image=True)

    def _start(self, start: Start) -> Outcome:
        group, number = self._config.group_of()[start.slot]
        folder = str(self._store.slot_folder(start.slot)) if group.state else None
        id = self._engines[group.engine].start(group, number, start.digest, host=self._config.host, state=folder)
        return Outcome(start, container=id)

    def _bury(self, bury: Bury, container: Container) -> Outcome:
        its = self._engines[bury.engine]
        ended = container.ended or time.time()
        try:
            if words.complete(container, self._store.folder / "slots" / bury.slot, bury.code, bury.sentence, ended):
                self._audit.note("completed", f"last words of {container.name}: {bury.code}", slot=bury.slot)
        except OSError as error:
            self._audit.note(
                "completing-failed", f"cannot complete the last words of {container.name}: {error}", "warning"
            )
        if bury.verdict == "failed":
            with contextlib.suppress(EngineRefused):  # no log to be had is no reason to keep the dead
                said = f"{container.name} printed last: {its.logs(container.id)}"
                self._audit.note("printed", said, slot=bury.slot)
        if self._consul and container.started and (container.words is None or container.words.state == "running"):
            self._consul.leave(bury.slot)  # it could not take its registration away itself
        its.remove(container.id)
        return Outcome(bury)

    def _drain(self, drain: Drain) -> Outcome:
        group, _ = self._config.group_of()[drain.slot]
        status, said = self._engines[drain.engine].execute(drain.container, group.drain)
        return Outcome(drain, f"{' '.join(group.drain)} ended with status {status}: {said[-300:]}" if status else "")


def _run(command: Command, image: str, digest: str) -> tuple[str, bool]:
    """A hook on the host: its complaint ("" none), and whether that is about the image."""
    words = [word.replace("{image}", image).replace("{digest}", digest) for word in command.exec]
    env = {**os.environ, "AUTOPILOT_IMAGE": image, "AUTOPILOT_IMAGE_DIGEST": digest}
    try:
        done = subprocess.run(
            words,
            env=env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=command.timeout,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"{words[0]} took longer than {command.timeout:.0f} s", False
    except OSError as error:
        return f"cannot run {words[0]}: {error.strerror}", False
    if done.returncode == 0:
        return "", False
    return f"{words[0]} ended with status {done.returncode}: {(done.stderr or done.stdout).strip()[-300:]}", True
