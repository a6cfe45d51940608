"""Choose names for the jobs of a converted configuration, which must differ."""

from __future__ import annotations

import re
from collections.abc import Sequence

from autopilot.spec.vocabulary import SIGNAL_SOURCES, SUPERVISOR_SOURCES

_INTERPRETERS = re.compile(r"(?:env|(?:ba|da|z|k)?sh|python[0-9.]*|node|ruby|perl|php|java)")
_RESERVED_PREFIXES = ("watch.", "template.")


class JobNames:
    """The names that are taken."""

    def __init__(self) -> None:
        self._taken = {*SIGNAL_SOURCES, *SUPERVISOR_SOURCES}

    def choose(self, wanted: str, role: str) -> str:
        """Take a name, and return it: the wanted one, else with the role or a number added.

        Args:
            wanted: The name in the configuration.
            role: Such as "task"; added to a name that is taken.
        """
        base = wanted.strip() or role
        if base.startswith(_RESERVED_PREFIXES):
            base = base.replace(".", "-", 1)
        candidates = [base, f"{base}-{role}", *(f"{base}-{role}-{number}" for number in range(2, len(self._taken) + 3))]
        name = next(candidate for candidate in candidates if candidate not in self._taken)
        self._taken.add(name)
        return name


def derive_name(words: Sequence[str]) -> str:
    """Return a short name for a command: its program, or the script that an interpreter runs."""
    names = [word.rsplit("/", 1)[-1] for word in words]
    if len(names) > 1 and _INTERPRETERS.fullmatch(names[0]) and not names[1].startswith("-"):
        names = names[1:]
    stem = re.sub(r"(?<=.)\.(?:sh|py|rb|pl|js|php)$", "", names[0]) if names else ""
    return stem
