"""Find the environment variables that the template of a value reads, to name those that are not set."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

MAX_VALUE_CHARS = 1000  # that are searched; actions with ends missing would take quadratic time

_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"|`[^`]*`')
_ENV_CALL = re.compile(r'\benv\s+"([^"]+)"')
_FIELD = re.compile(r"(?<![\w.)])(?:\$)?\.([A-Za-z_]\w*)")
_DEFAULT = re.compile(r"\|\s*default\b")
_ACTION = re.compile(r"\{\{(?:[^\"`}]|" + _QUOTED.pattern + r"|\}(?!\}))*\}\}")


def list_action_variables(actions: Iterable[str]) -> list[str]:
    """Return the names of the environment variables that template actions read, each once, in their order."""
    names: dict[str, None] = {}
    for action in actions:
        names |= dict.fromkeys([*_FIELD.findall(_QUOTED.sub('""', action)), *_ENV_CALL.findall(action)])
    return list(names)


def find_unset_variables(template: str, offset: int, env: Mapping[str, str]) -> list[str]:
    """Return the variables without a value that a value's template reads; not those that have a default there.

    Args:
        template: The file as written.
        offset: Index of the value's first character, or of the mistake that an empty action before it caused.
        env: The environment variables.
    """
    actions = (action for action in _list_actions(template, offset) if not _DEFAULT.search(action))
    names = list_action_variables(actions)
    return [name for name in names if not env.get(name)]


def _list_actions(template: str, offset: int) -> list[str]:
    """Return the actions in the string that begins at an offset, or else the action right before it."""
    quote = template[offset : offset + 1]
    if quote not in ("'", '"'):
        before = template[max(0, offset - MAX_VALUE_CHARS) : offset].rstrip(" ")
        return [match[0] for match in _ACTION.finditer(before) if match.end() == len(before)]
    actions = []
    value = template[offset + 1 : offset + MAX_VALUE_CHARS]
    position = 0
    while position < len(value) and value[position] not in (quote, "\n"):
        match = _ACTION.match(value, position)
        if match is not None:
            actions.append(match[0])
        position = match.end() if match is not None else position + 1 + (value[position] == "\\")
    return actions
