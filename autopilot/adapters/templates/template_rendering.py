"""Render a template from given values, or name the value that is still unknown. Pure.

A template sees `env` (the environment), `key(PATH)` and `keys(PREFIX)` of Consul's KV store, and `service(NAME)`, the
healthy instances. A missing value is an error, never an empty word in a configuration; `key(PATH, "default")` and
`env.get(NAME, "default")` give a default.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from jinja2 import StrictUndefined, TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from autopilot.errors import AutopilotError


@dataclass(frozen=True, slots=True)
class Dependency:
    """A value of Consul that a template uses: a key, all keys below a prefix, or a service."""

    kind: Literal["key", "keys", "service"]
    name: str


class RenderError(AutopilotError):
    """A template cannot be rendered; the message has the template's line if it is known."""


class DependencyPendingError(AutopilotError):
    """A template uses a value of Consul that is not known yet."""

    def __init__(self, dependency: Dependency) -> None:
        super().__init__(dependency)
        self.dependency = dependency


_NO_DEFAULT = object()


class _TemplateFunctions:
    """The functions that a template calls.

    Their values are a key's text or None, the texts below a prefix by name, and a service's instances.
    """

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
    """Return the rendered text.

    Args:
        text: The template.
        env: The environment that the template sees.
        known_values: The values of Consul that are known.

    Raises:
        RenderError: The template is wrong, or a value is missing.
        DependencyPendingError: The template uses a value that is not known yet.
    """
    functions = _TemplateFunctions(known_values)
    engine = ImmutableSandboxedEnvironment(undefined=StrictUndefined, keep_trailing_newline=True, autoescape=False)
    engine.globals.update(
        env=dict(env), key=functions.get_key, keys=functions.list_keys, service=functions.list_instances
    )
    try:
        return engine.from_string(text).render()
    except TemplateError as error:
        line = getattr(error, "lineno", None)
        raise RenderError(f"{f'line {line}: ' if line else ''}{error}") from None
    except (ArithmeticError, LookupError, TypeError, ValueError, RecursionError) as error:
        raise RenderError(f"{type(error).__name__}: {error}") from None
