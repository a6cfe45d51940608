"""Remove secrets from lines that leave this host: the values of secret variables, and matches of patterns."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase

MIN_SECRET_CHARS = 6  # a shorter value is part of many words
REPLACEMENT = "[redacted]"
PUBLIC_FIELDS = ("job", "check", "stream", "payload")  # names, by which lines are found


class Redactor:
    """Replaces secrets in texts."""

    def __init__(
        self, environments: Iterable[Mapping[str, str]], names: Iterable[str], patterns: Iterable[str]
    ) -> None:
        """Collect the secrets.

        Args:
            environments: Environment variables of the supervisor and of its jobs.
            names: Patterns such as `*TOKEN*`, in any case; the values of matching variables are secrets.
            patterns: Regular expressions; each match is a secret.
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
        parts = [re.escape(secret) for secret in sorted(secrets, key=len, reverse=True)]
        parts += [f"(?:{pattern})" for pattern in patterns]
        self._expression = re.compile("|".join(parts)) if parts else None

    def redact(self, text: str) -> str:
        """Return the text without secrets."""
        return text if self._expression is None else self._expression.sub(REPLACEMENT, text)

    def redact_fields(self, fields: Mapping[str, object]) -> Mapping[str, object]:
        """Return the fields of a line without secrets; a value that is no text becomes one if a secret is in it."""
        if self._expression is None:
            return fields
        return {key: value if key in PUBLIC_FIELDS else self._redact_value(value) for key, value in fields.items()}

    def _redact_value(self, value: object) -> object:
        if value is None or isinstance(value, int | float):
            return value
        text = str(value)
        redacted = self.redact(text)
        return value if redacted == text else redacted
