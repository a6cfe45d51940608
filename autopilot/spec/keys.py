"""Keys: both spellings folded into one, unknown ones refused with the nearest known key.

Done before pydantic sees the tree, because only here the key as the user wrote it, and so its place, is known.
"""

from __future__ import annotations

from functools import cache
from typing import Any, get_args

from autopilot.spec.findings import Finding
from autopilot.spec.model_base import Strict
from autopilot.spec.parsing import Path
from autopilot.spec.posix import nearest, suggestion

# Keys of the design that later versions bring, by the model that will have them.
_LATER = {
    "Spec": {"checks"},
    "Raw": {"files"},
}

# Other names that ContainerPilot has for a key.
SYNONYMS = {"Job": {"uid": "user", "gid": "group"}}

# What earlier versions of ContainerPilot called a key.
_FORMER: dict[str, dict[str, tuple[str, ...]]] = {
    "When": {"event": ("once", "each"), "frequency": ("interval",)},
    "Health": {"poll": ("interval",)},
    "Watch": {"poll": ("interval",)},
    "Telemetry": {"sensors": ("metrics",)},
}


def camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


class Folded:
    """A tree with snake_case keys only. `written` leads from its paths to those of the file."""

    def __init__(self, tree: Any, model: type[Strict]) -> None:
        self.findings: list[Finding] = []
        self.written: dict[Path, Path] = {}
        self.missed: set[Path] = set()  # keys that were probably meant by a misspelt one
        self.tree = self._fold(tree, model, (), ())

    def _fold(self, tree: Any, model: type[Strict], path: Path, written: Path) -> Any:
        self.written[path] = written
        if not isinstance(tree, dict):
            return tree
        spellings = _spellings(model)
        found: dict[str, Any] = {}
        for key, value in tree.items():
            if key == "$schema" and not path:
                continue  # for editors
            name, here = spellings.get(key), (*written, key)
            if name is None:
                self.findings.append(_unknown(key, model, here))
                meant = _former(model, key) or tuple(spellings[near] for near in nearest(key, spellings))
                self.missed.update((*path, other) for other in meant)
                if path and key in _later(model):
                    self.missed.add(path)
            elif name in found:
                other = next(k for k in tree if k != key and spellings.get(k) == name)
                message = f'cannot be given twice: "{other}" and "{key}" are the same key'
                self.findings.append(Finding(here, message, of_key=True))
            else:
                found[name] = self._value(value, model, name, (*path, name), here)
        return found

    def _value(self, value: Any, model: type[Strict], name: str, path: Path, written: Path) -> Any:
        self.written[path] = written
        inner, many = nested(model, name)
        if inner is None:
            return value
        if not many or not isinstance(value, list):
            return self._fold(value, inner, path, written)
        return [self._fold(item, inner, (*path, i), (*written, i)) for i, item in enumerate(value)]


def _unknown(key: str, model: type[Strict], written: Path) -> Finding:
    if key in _later(model):
        return Finding(written, "cannot be used in this version; remove it", of_key=True)
    former = _former(model, key)
    near = f"; write {' or '.join(former)}" if former else suggestion(key, _spellings(model))
    known = near or f"; known here: {', '.join(sorted(model.model_fields))}"
    return Finding(written, f"cannot be used: there is no such key{known}", of_key=True)


def _former(model: type[Strict], key: str) -> tuple[str, ...]:
    return _FORMER.get(model.__name__, {}).get(key, ())


@cache
def _later(model: type[Strict]) -> set[str]:
    return {spelling for name in _LATER.get(model.__name__, ()) for spelling in (name, camel(name))}


@cache
def _spellings(model: type[Strict]) -> dict[str, str]:
    own = {spelling: name for name in model.model_fields for spelling in (name, camel(name))}
    return own | SYNONYMS.get(model.__name__, {})


@cache
def nested(model: type[Strict], name: str) -> tuple[type[Strict] | None, bool]:
    """The model a field holds, if any, and whether it holds a sequence of them."""
    return _model_in(model.model_fields[name].annotation)


def _model_in(annotation: Any) -> tuple[type[Strict] | None, bool]:
    if isinstance(annotation, type) and issubclass(annotation, Strict):
        return annotation, False
    for part in get_args(annotation):
        inner, many = _model_in(part)
        if inner is not None:
            return inner, many or getattr(annotation, "__origin__", None) is tuple
    return None, False
