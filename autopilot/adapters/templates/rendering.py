"""Rendering: a template with its values, or what it still needs. Pure: values are given, nothing is looked up.

A template sees `env` (the environment), `key(PATH)` and `keys(PREFIX)` of Consul's KV store, and `service(NAME)`, the
healthy instances. What is missing is an error, never an empty word in a configuration; `key(PATH, "default")` and
`env.get(NAME, "default")` say what to take instead.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from jinja2 import StrictUndefined, TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment


@dataclass(frozen=True, slots=True)
class Need:
    """One thing of Consul's that a template looks at."""

    kind: Literal["key", "keys", "service"]
    name: str


class CannotRender(Exception):
    """One sentence, with the template's line where there is one."""


class NotYet(Exception):
    """The template looks at something that is not known yet."""

    def __init__(self, need: Need) -> None:
        super().__init__(need)
        self.need = need


_MISSING = object()


class _Lookups:
    """The functions a template calls. Values: a key's text or None, a prefix's texts by name, a service's instances."""

    def __init__(self, known: Mapping[Need, Any]) -> None:
        self._known = known

    def _of(self, need: Need) -> Any:
        if need not in self._known:
            raise NotYet(need)
        return self._known[need]

    def key(self, path: str, default: Any = _MISSING) -> Any:
        value = self._of(Need("key", path))
        if value is None and default is _MISSING:
            raise CannotRender(f'there is no key "{path}" in Consul; put it there, or write key("{path}", "DEFAULT")')
        return default if value is None else value

    def keys(self, prefix: str) -> Any:
        return self._of(Need("keys", prefix))

    def service(self, name: str) -> Any:
        return self._of(Need("service", name))


def render(text: str, env: Mapping[str, str], known: Mapping[Need, Any]) -> str:
    """Raises CannotRender, NotYet."""
    look = _Lookups(known)
    engine = ImmutableSandboxedEnvironment(undefined=StrictUndefined, keep_trailing_newline=True, autoescape=False)
    engine.globals.update(env=dict(env), key=look.key, keys=look.keys, service=look.service)
    try:
        return engine.from_string(text).render()
    except TemplateError as error:
        line = getattr(error, "lineno", None)
        raise CannotRender(f"{f'line {line}: ' if line else ''}{error}") from None
    except (ArithmeticError, LookupError, TypeError, ValueError, RecursionError) as error:
        raise CannotRender(f"{type(error).__name__}: {error}") from None
