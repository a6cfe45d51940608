"""Read the configuration again while `watch` runs: the file is the one truth for `watch`, the timer's runs and verbs.

A changed file is taken if it is valid. Else the configuration in use stays, and the problems are told once. A file with
problems that changed a moment ago may be half written, so it is looked at again before anything is told.

A SIGHUP is answered by one sentence of its own, also when the change before it was noticed without it.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

from autopilot_watchdog.config.config_model import Config
from autopilot_watchdog.config.config_reader import ConfigError, load_config
from autopilot_watchdog.core.audit_events import AuditEvent
from autopilot_watchdog.timestamps import format_age

SETTLE_S = 1.0  # a file with problems is not judged before it has stayed the same for so long


def load_checked_config(path: Path) -> Config:
    """Read and validate a configuration file, also the events of `notify`.

    Raises:
        ConfigError: The file cannot be read, or has problems.
    """
    config = load_config(path)
    unknown = [event for event in config.notify.events if event not in set(AuditEvent)] if config.notify else []
    if unknown:
        known = ", ".join(AuditEvent)
        raise ConfigError([f'{path}: notify.events: unknown event "{unknown[0]}"; known here: {known}'])
    return config


@dataclass(frozen=True, slots=True)
class ConfigChange:
    """Effect of a changed file."""

    sentence: str
    is_refused: bool = False


class ConfigSource:
    """File of the configuration, and the configuration in use."""

    def __init__(self, path: Path, config: Config, settle_s: float = SETTLE_S) -> None:
        """Begin with a configuration that was read from the file a moment ago."""
        self.config = config
        self.look_again_at: float | None = None  # epoch seconds; None: when the file changes
        self.refused_since = 0.0  # epoch seconds since which the file cannot be used; 0: it can
        self._path = path
        self._used_since = time.monotonic()  # begin of the use of `config`
        self._stamp: object = None  # of the file when it was read last; it may have changed since `config` was read
        self._problems: list[str] = []
        self._is_asked = False
        self._settle_s = settle_s
        self._suspect: object = None  # the stamp of a file with problems that may be half written
        self._suspected_since = 0.0  # seconds of the monotonic clock

    @property
    def has_changed(self) -> bool:
        """True if the file is another one than at the last reload; a signal handler may ask."""
        return self._read_stamp() not in {self._stamp, self._suspect}

    def ask(self) -> None:
        """Let the next reload read the file, and tell the outcome, in any case; a signal handler may call it."""
        self._is_asked = True

    def reload(self) -> ConfigChange | None:
        """Read the file if it has changed; return the effect, None if there is nothing to tell."""
        is_asked, self._is_asked = self._is_asked, False
        self.look_again_at = None
        stamp = self._read_stamp()
        if stamp == self._stamp and not is_asked:
            return None
        try:
            config = load_checked_config(self._path)
            if config.state != self.config.state:
                folders = f"from {self.config.state} to {config.state}"
                sentence = "start the service again for that, after its containers have ended"
                raise ConfigError([f"{self._path}: state: cannot change {folders} while `watch` runs; {sentence}"])
        except ConfigError as error:
            if not is_asked and not self._has_settled(stamp):
                return None
            self._stamp = stamp
            return self._refuse(error.lines, is_asked=is_asked)
        self._stamp = stamp
        is_same, was_refused = config == self.config, bool(self._problems)
        self.config, self.refused_since, self._problems = config, 0.0, []
        if not is_same:
            self._used_since = time.monotonic()
        if is_asked:
            return ConfigChange(f"SIGHUP: {self._describe_use(is_same)}")
        if is_same and not was_refused:
            return None
        return ConfigChange(f"{self._path} was read again{': nothing has changed' if is_same else ''}")

    def _describe_use(self, is_same: bool) -> str:
        """Return a sentence about the configuration in use after a look at the file."""
        if not is_same:
            return f"{self._path} was read again, and its changes are in use"
        age = format_age(time.monotonic() - self._used_since)
        return f"{self._path} was read again: nothing has changed, its content has been in use for {age}"

    def _has_settled(self, stamp: object) -> bool:
        """Return True if a file with problems has stayed the same for long enough; else note when to look again."""
        now = time.monotonic()
        if stamp != self._suspect:
            self._suspect, self._suspected_since = stamp, now
        remaining_s = self._suspected_since + self._settle_s - now
        if remaining_s <= 0:
            return True
        self.look_again_at = time.time() + remaining_s
        return False

    def _refuse(self, problems: list[str], *, is_asked: bool) -> ConfigChange | None:
        is_told = problems == self._problems
        self._problems, self.refused_since = problems, self.refused_since or time.time()
        if is_told and not is_asked:
            return None
        cause = ["SIGHUP: the configuration's file cannot be used"] if is_asked else []
        return ConfigChange("\n".join([*cause, *problems, "the former configuration stays in use"]), is_refused=True)

    def _read_stamp(self) -> object:
        try:
            status = os.stat(self._path)
        except OSError as error:
            return error.errno
        return status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino, status.st_dev
