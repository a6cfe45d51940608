"""Remove secrets from lines that leave this host: the values of secret variables, and matches of patterns.

A pattern of an admin can take seconds for one long line of a payload, and the supervisor does nothing else meanwhile.
So patterns see lines of a bounded length, and have a bounded share of the time. Beyond it long lines are refused: a
line is never sent unredacted.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Mapping
from fnmatch import fnmatchcase

MIN_SECRET_CHARS = 6  # a shorter value is part of many words
REPLACEMENT = "[redacted]"
CUT_MARK = " [cut]"
PUBLIC_FIELDS = ("job", "check", "stream", "payload")  # names, by which lines are found
MAX_SENT_CHARS = 8192  # of a text with patterns; the rest is cut
MAX_PATTERN_CHARS = MAX_SENT_CHARS + 1024  # that patterns see: a secret at the cut is found too
SHORT_CHARS = 512  # a text for which every sensible pattern is quick
TIME_SHARE = 0.1  # of all time, for patterns
MAX_DEBT_S = 1.0  # that patterns may take at once


class PatternTime:
    """The time that patterns have taken beyond their share. Pure."""

    def __init__(self) -> None:
        self._debt_s, self._updated_at = 0.0, 0.0

    def is_used_up(self, now: float) -> bool:
        """Return True while patterns have to wait."""
        self._debt_s = max(0.0, self._debt_s - TIME_SHARE * (now - self._updated_at))
        self._updated_at = now
        return self._debt_s > MAX_DEBT_S

    def add(self, seconds: float) -> None:
        """Record that patterns have worked for so long."""
        self._debt_s += seconds


class Redactor:
    """Replaces secrets in texts."""

    def __init__(
        self,
        environments: Iterable[Mapping[str, str]],
        names: Iterable[str],
        patterns: Iterable[str],
        *,
        pattern_time: PatternTime | None = None,
        read_clocks: Callable[[], tuple[float, float]] = lambda: (time.monotonic(), time.thread_time()),
    ) -> None:
        """Collect the secrets.

        Args:
            environments: Environment variables of the supervisor and of its jobs.
            names: Patterns such as `*TOKEN*`, in any case; the values of matching variables are secrets.
            patterns: Regular expressions; each match is a secret.
            pattern_time: The time that patterns have taken so far.
            read_clocks: Returns the time and the time that this thread has worked, in seconds.
        """
        wanted = [name.upper() for name in names]
        secrets = {
            secret
            for environment in environments
            for name, value in environment.items()
            if any(fnmatchcase(name.upper(), pattern) for pattern in wanted)
            # a key of several lines is printed as several lines of the log
            for secret in (value, *value.splitlines())
            if len(secret) >= MIN_SECRET_CHARS
        }
        # of two secrets with the same beginning the longer one comes first
        values = [re.escape(secret) for secret in sorted(secrets, key=len, reverse=True)]
        self._values = re.compile("|".join(values)) if values else None
        # each by itself: flags such as (?i) and the numbers of groups are its own
        self._patterns = [re.compile(pattern) for pattern in patterns]
        self._pattern_time = pattern_time or PatternTime()
        self._read_clocks = read_clocks

    def is_too_slow_for(self, message: str, fields: Mapping[str, object]) -> bool:
        """Return True if a line must not be sent, because patterns have used up their time and it is long."""
        if not self._patterns:
            return False
        texts = (message, *(value for value in fields.values() if isinstance(value, str)))
        is_long = any(len(text) > SHORT_CHARS for text in texts)
        return is_long and self._pattern_time.is_used_up(self._read_clocks()[0])

    def redact(self, text: str) -> str:
        """Return the text without secrets."""
        if self._values is not None:
            text = self._values.sub(REPLACEMENT, text)
        if not self._patterns:
            return text
        if len(text) <= SHORT_CHARS:
            return _redact_beginning(self._patterns, text)
        began = self._read_clocks()[1]
        redacted = _redact_beginning(self._patterns, text)
        self._pattern_time.add(self._read_clocks()[1] - began)
        return redacted

    def redact_fields(self, fields: Mapping[str, object]) -> Mapping[str, object]:
        """Return the fields of a line without secrets; a value that is no text becomes one if a secret is in it."""
        if self._values is None and not self._patterns:
            return fields
        return {key: value if key in PUBLIC_FIELDS else self._redact_value(value) for key, value in fields.items()}

    def _redact_value(self, value: object) -> object:
        if value is None or isinstance(value, int | float):
            return value
        text = str(value)
        redacted = self.redact(text)
        return value if redacted == text else redacted


def _redact_beginning(patterns: Iterable[re.Pattern[str]], text: str) -> str:
    """Return the first MAX_SENT_CHARS characters of a text without the matches that begin there."""
    seen = text[:MAX_PATTERN_CHARS]
    spans = sorted(match.span() for pattern in patterns for match in pattern.finditer(seen))
    parts, at = [], 0
    for start, end in spans:
        if start >= MAX_SENT_CHARS or end <= at or start == end:
            continue
        if start >= at:  # else it goes on from the match before
            parts += [text[at:start], REPLACEMENT]
        at = end
    rest = CUT_MARK if len(text) > MAX_SENT_CHARS else ""
    return "".join([*parts, text[at:MAX_SENT_CHARS], rest])
