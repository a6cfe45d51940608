"""Read the configuration again while `watch` runs: the file is the one truth for `watch`, the timer's runs and verbs.

A changed file is taken if it is valid. Else the configuration in use stays, and the problems are told once.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

from autopilot_watchdog.config.config_model import Config
from autopilot_watchdog.config.config_reader import ConfigError, load_config


@dataclass(frozen=True, slots=True)
class ConfigChange:
    """Effect of a changed file."""

    sentence: str
    is_refused: bool = False


class ConfigSource:
    """File of the configuration, and the configuration in use."""

    def __init__(self, path: Path, config: Config) -> None:
        """Begin with a configuration that was read from the file a moment ago."""
        self.config = config
        self.refused_since = 0.0  # epoch seconds since which the file cannot be used; 0: it can
        self._path = path
        self._stamp: object = None  # of the file when it was read last; it may have changed since `config` was read
        self._problems: list[str] = []
        self._is_asked = False

    def ask(self) -> None:
        """Let the next reload read the file, and tell the outcome, in any case; a signal handler may call it."""
        self._is_asked = True

    def reload(self) -> ConfigChange | None:
        """Read the file if it has changed; return the effect, None if there is nothing to tell."""
        is_asked, self._is_asked = self._is_asked, False
        stamp = self._read_stamp()
        if stamp == self._stamp and not is_asked:
            return None
        self._stamp = stamp
        try:
            config = load_config(self._path)
            if config.state != self.config.state:
                folders = f"from {self.config.state} to {config.state}"
                sentence = "start the service again for that, after its containers have ended"
                raise ConfigError([f"{self._path}: state: cannot change {folders} while `watch` runs; {sentence}"])
        except ConfigError as error:
            return self._refuse(error.lines, is_asked=is_asked)
        is_same, was_refused = config == self.config, bool(self._problems)
        self.config, self.refused_since, self._problems = config, 0.0, []
        if is_same and not is_asked and not was_refused:
            return None
        return ConfigChange(f"{self._path} was read again{': nothing has changed' if is_same else ''}")

    def _refuse(self, problems: list[str], *, is_asked: bool) -> ConfigChange | None:
        is_told = problems == self._problems
        self._problems, self.refused_since = problems, self.refused_since or time.time()
        if is_told and not is_asked:
            return None
        return ConfigChange("\n".join([*problems, "the former configuration stays in use"]), is_refused=True)

    def _read_stamp(self) -> object:
        try:
            status = os.stat(self._path)
        except OSError as error:
            return error.errno
        return status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino, status.st_dev
