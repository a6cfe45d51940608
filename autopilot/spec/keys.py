"""Normalize the keys of a tree to snake_case, and refuse unknown keys with the nearest known key.

This happens before pydantic sees the tree, because only here the key as written, and so its place, is known.
"""

from __future__ import annotations

from functools import cache
from typing import Any, get_args

from autopilot.spec.findings import Finding
from autopilot.spec.key_paths import KeyPath
from autopilot.spec.model_base import StrictModel
from autopilot.spec.os_names import find_nearest, format_suggestion

MAX_ITEMS = 1000  # of an array of objects: more are a mistake of a generator, and some checks take quadratic time

# ContainerPilot's second names of a key, by model.
KEY_SYNONYMS = {"Job": {"uid": "user", "gid": "group"}}

# Names of a key in earlier versions of ContainerPilot, by model.
_FORMER_KEYS: dict[str, dict[str, tuple[str, ...]]] = {
    "When": {"event": ("once", "each"), "frequency": ("interval",)},
    "Health": {"poll": ("interval",)},
    "Watch": {"poll": ("interval",)},
    "Telemetry": {"sensors": ("metrics",)},
}


def convert_to_camel_case(name: str) -> str:
    """Return a snake_case name in camelCase."""
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


class NormalizedTree:
    """A tree with snake_case keys only.

    Attributes:
        tree: The values, without unknown keys.
        findings: The unknown and the repeated keys.
        written_paths: The path in the file for each path of the tree.
        intended_paths: Paths of the keys that misspelt ones probably meant.
        is_oversized: True when an array has more than MAX_ITEMS objects; the array is then not looked at.
    """

    def __init__(self, tree: Any, model: type[StrictModel]) -> None:
        self.findings: list[Finding] = []
        self.written_paths: dict[KeyPath, KeyPath] = {}
        self.intended_paths: set[KeyPath] = set()
        self.is_oversized = False
        self.tree = self._normalize(tree, model, (), ())

    def _normalize(self, tree: Any, model: type[StrictModel], path: KeyPath, written_path: KeyPath) -> Any:
        self.written_paths[path] = written_path
        if not isinstance(tree, dict):
            return tree
        spellings = _map_spellings(model)
        normalized: dict[str, Any] = {}
        for key, value in tree.items():
            if key == "$schema" and not path:
                continue  # names the schema for editors
            name, key_path = spellings.get(key), (*written_path, key)
            if name is None:
                self.findings.append(_build_unknown_key_finding(key, model, key_path))
                intended = _get_replacement_keys(model, key) or tuple(
                    spellings[near] for near in find_nearest(key, spellings)
                )
                self.intended_paths.update((*path, other) for other in intended)
            elif name in normalized:
                other = next(k for k in tree if k != key and spellings.get(k) == name)
                message = f'cannot be given twice: "{other}" and "{key}" are the same key'
                self.findings.append(Finding(key_path, message, at_key=True))
            else:
                normalized[name] = self._normalize_value(value, model, name, (*path, name), key_path)
        return normalized

    def _normalize_value(
        self, value: Any, model: type[StrictModel], name: str, path: KeyPath, written_path: KeyPath
    ) -> Any:
        self.written_paths[path] = written_path
        inner, many = find_nested_model(model, name)
        if inner is None:
            return value
        if not many or not isinstance(value, list):
            return self._normalize(value, inner, path, written_path)
        if len(value) > MAX_ITEMS:
            self.is_oversized = True
            message = f"cannot have more than {MAX_ITEMS} entries, got {len(value)}; a container holds one application"
            self.findings.append(Finding(written_path, message))
            return []
        return [self._normalize(item, inner, (*path, i), (*written_path, i)) for i, item in enumerate(value)]


def _build_unknown_key_finding(key: str, model: type[StrictModel], written_path: KeyPath) -> Finding:
    former = _get_replacement_keys(model, key)
    suggestion = f"; write {' or '.join(former)}" if former else format_suggestion(key, _map_spellings(model))
    remedy = suggestion or f"; known here: {', '.join(sorted(model.model_fields))}"
    return Finding(written_path, f"cannot be used: there is no such key{remedy}", at_key=True)


def _get_replacement_keys(model: type[StrictModel], key: str) -> tuple[str, ...]:
    return _FORMER_KEYS.get(model.__name__, {}).get(key, ())


@cache
def _map_spellings(model: type[StrictModel]) -> dict[str, str]:
    own = {spelling: name for name in model.model_fields for spelling in (name, convert_to_camel_case(name))}
    return own | KEY_SYNONYMS.get(model.__name__, {})


@cache
def find_nested_model(model: type[StrictModel], name: str) -> tuple[type[StrictModel] | None, bool]:
    """Return the model that a field contains (or None), and True when the field is a sequence of them."""
    return _find_model_in(model.model_fields[name].annotation)


def _find_model_in(annotation: Any) -> tuple[type[StrictModel] | None, bool]:
    if isinstance(annotation, type) and issubclass(annotation, StrictModel):
        return annotation, False
    for part in get_args(annotation):
        inner, many = _find_model_in(part)
        if inner is not None:
            return inner, many or getattr(annotation, "__origin__", None) is tuple
    return None, False
