"""Remove secrets from lines that leave this host: the values of secret variables, and matches of patterns.

A pattern of an admin can take a minute for one long text, and the supervisor does nothing else meanwhile. So patterns
see a text in overlapping windows, and have a bounded share of the time. Beyond it lines are refused: a line is never
sent unredacted.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from fnmatch import fnmatchcase

MIN_SECRET_CHARS = 6  # a shorter value is part of many words
MAX_SECRETS = 256  # that are remembered; those of the present are kept even if they are more
REPLACEMENT = "[redacted]"
CUT_MARK = " [cut]"
PUBLIC_FIELDS = ("job", "check", "stream", "payload")  # names, by which lines are found
MAX_SENT_CHARS = 8192  # of a text with patterns; the rest is cut
MAX_PATTERN_CHARS = MAX_SENT_CHARS + 1024  # that patterns see: a secret at the cut is found too
WINDOW_CHARS = 1024  # of a text, that a pattern sees at once: its time may grow with the cube of them
STEP_CHARS = 512  # from window to window; a match that is no longer is seen whole
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


class SecretMemory:
    """The values of secret variables, also earlier ones: a process keeps those that it was started with. Pure.

    Attributes:
        secrets: The values as keys, those that were seen last at the end.
    """

    def __init__(self) -> None:
        self.secrets: dict[str, None] = {}

    def add(self, environments: Iterable[Mapping[str, str]], names: Iterable[str]) -> bool:
        """Collect the secrets of environments.

        Args:
            environments: Environment variables.
            names: Patterns such as `*TOKEN*`, in any case; the values of matching variables are secrets.

        Returns:
            True if there is a new one.
        """
        wanted = [name.upper() for name in names]
        found = {
            secret: None
            for environment in environments
            for name, value in environment.items()
            if any(fnmatchcase(name.upper(), pattern) for pattern in wanted)
            # a key of several lines is printed as several lines of the log
            for secret in (value, *value.splitlines())
            if len(secret) >= MIN_SECRET_CHARS
        }
        is_new = bool(found.keys() - self.secrets.keys())
        earlier = [secret for secret in self.secrets if secret not in found]
        room = max(0, MAX_SECRETS - len(found))
        self.secrets = dict.fromkeys(earlier[max(0, len(earlier) - room) :]) | found
        return is_new


class Redactor:
    """Replaces secrets in texts."""

    def __init__(
        self,
        environments: Iterable[Mapping[str, str]],
        names: Iterable[str],
        patterns: Iterable[str],
        *,
        memory: SecretMemory | None = None,
        pattern_time: PatternTime | None = None,
        read_clocks: Callable[[], tuple[float, float]] = lambda: (time.monotonic(), time.thread_time()),
    ) -> None:
        """Collect the secrets.

        Args:
            environments: Environment variables of the supervisor and of its jobs.
            names: Patterns such as `*TOKEN*`, in any case; the values of matching variables are secrets.
            patterns: Regular expressions; each match is a secret.
            memory: The secrets of earlier environments, which gets those of these ones.
            pattern_time: The time that patterns have taken so far.
            read_clocks: Returns the time and the time that this thread has worked, in seconds.
        """
        memory = memory or SecretMemory()
        memory.add(environments, names)
        # of two secrets with the same beginning the longer one comes first
        values = [re.escape(secret) for secret in sorted(memory.secrets, key=len, reverse=True)]
        self._values = re.compile("|".join(values)) if values else None
        # each by itself: flags such as (?i) and the numbers of groups are its own
        self._patterns = [re.compile(pattern) for pattern in patterns]
        self._pattern_time = pattern_time or PatternTime()
        self._read_clocks = read_clocks

    def is_out_of_time(self) -> bool:
        """Return True if no line may be sent now, because patterns have used up their time."""
        return bool(self._patterns) and self._pattern_time.is_used_up(self._read_clocks()[0])

    def redact(self, text: str) -> str:
        """Return the text without secrets."""
        if self._values is not None:
            text = self._values.sub(REPLACEMENT, text)
        if not self._patterns:
            return text
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
    spans = sorted(span for pattern in patterns for span in _find_spans(pattern, seen))
    parts, at = [], 0
    for start, end in spans:
        if start >= MAX_SENT_CHARS or end <= at or start == end:
            continue
        if start >= at:  # else it goes on from the match before
            parts += [text[at:start], REPLACEMENT]
        at = end
    rest = CUT_MARK if len(text) > MAX_SENT_CHARS else ""
    return "".join([*parts, text[at:MAX_SENT_CHARS], rest])


def _find_spans(pattern: re.Pattern[str], text: str) -> Iterator[tuple[int, int]]:
    """Yield matches, window by window; one that goes on beyond its window takes the rest of the text."""
    at = 0
    while at < len(text):
        window_end = min(at + WINDOW_CHARS, len(text))
        next_at = min(at + STEP_CHARS, len(text)) if window_end < len(text) else len(text)
        for match in pattern.finditer(text, at, window_end):
            start, end = match.span()
            if end < window_end or window_end == len(text):
                yield start, end
                next_at = max(next_at, end)
            elif start < next_at:
                yield start, len(text)
                return
        at = next_at
