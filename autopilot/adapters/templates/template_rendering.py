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
class Dependency:
    """One thing of Consul's that a template looks at."""

    kind: Literal["key", "keys", "service"]
    name: str


class RenderError(Exception):
    """One sentence, with the template's line where there is one."""


class DependencyPendingError(Exception):
    """The template looks at something that is not known yet."""

    def __init__(self, dependency: Dependency) -> None:
        super().__init__(dependency)
        self.dependency = dependency


_NO_DEFAULT = object()


class _TemplateFunctions:
    """The functions a template calls. Values: a key's text or None, a prefix's texts by name, a service's instances."""

    def __init__(self, known_values: Mapping[Dependency, Any]) -> None:
        self._known_values = known_values

    def _get_value(self, dependency: Dependency) -> Any:
        if dependency not in self._known_values:
            raise DependencyPendingError(dependency)
        return self._known_values[dependency]

    def get_key(self, path: str, default: Any = _NO_DEFAULT) -> Any:
        value = self._get_value(Dependency("key", path))
        if value is None and default is _NO_DEFAULT:
            raise RenderError(f'there is no key "{path}" in Consul; put it there, or write key("{path}", "DEFAULT")')
        return default if value is None else value

    def list_keys(self, prefix: str) -> Any:
        return self._get_value(Dependency("keys", prefix))

    def list_instances(self, name: str) -> Any:
        return self._get_value(Dependency("service", name))


def render(text: str, env: Mapping[str, str], known_values: Mapping[Dependency, Any]) -> str:
    """Raises CannotRender, NotYet."""
    look = _TemplateFunctions(known_values)
    engine = ImmutableSandboxedEnvironment(undefined=StrictUndefined, keep_trailing_newline=True, autoescape=False)
    engine.globals.update(env=dict(env), key=look.get_key, keys=look.list_keys, service=look.list_instances)
    try:
        return engine.from_string(text).render()
    except TemplateError as error:
        line = getattr(error, "lineno", None)
        raise RenderError(f"{f'line {line}: ' if line else ''}{error}") from None
    except (ArithmeticError, LookupError, TypeError, ValueError, RecursionError) as error:
        raise RenderError(f"{type(error).__name__}: {error}") from None
