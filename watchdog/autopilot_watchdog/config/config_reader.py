"""From the file's text to a Config, with every problem in one go: where, what was found, what would be right."""

from __future__ import annotations

import difflib
import json
import socket
import types
import typing
from collections.abc import Iterable, Iterator
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

from autopilot_watchdog.config.config_model import Config
from autopilot_watchdog.config.value_readers import InvalidValueError


@dataclass(frozen=True, slots=True)
class Problem:
    pointer: tuple[str | int, ...]  # where in the document
    sentence: str
    at_key: bool = False


class ConfigError(Exception):
    """Every problem of a configuration, one line each."""

    def __init__(self, lines: Iterable[str]) -> None:
        self.lines = list(lines)
        super().__init__("\n".join(self.lines))


def load_config(path: Path) -> Config:
    """Raises ConfigError."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError([f"{path}: cannot read the configuration: {error}"]) from None
    return parse_config(text, str(path))


def parse_config(text: str, name: str = "config") -> Config:
    """Raises ConfigError."""
    doubles: list[str] = []

    def collect_duplicate_keys(pairs: list[tuple[str, object]]) -> dict[str, object]:
        keys = [key for key, _ in pairs]
        doubles.extend(key for key in set(keys) if keys.count(key) > 1)
        return dict(pairs)

    try:
        document = json.loads(text, object_pairs_hook=collect_duplicate_keys)
    except json.JSONDecodeError as error:
        said = f"cannot read the configuration as JSON: {error.msg}"
        raise ConfigError([f"{name}:{error.lineno}:{error.colno}: {said}"]) from None
    problems: list[Problem] = [Problem((), f'the key "{key}" is given twice; keep one') for key in doubles]
    config = _read_object(Config, document, (), problems)
    if config is not None and not problems:
        config = replace(config, host=config.host or socket.gethostname().split(".")[0])
        problems += _check_combinations(config)
    if problems or config is None:
        raise ConfigError(_format_problems(problems, text, name))
    return typing.cast(Config, config)


def _read_object(kind: type, found: object, pointer: tuple[str | int, ...], problems: list[Problem]) -> Any:
    """The dataclass `kind` from a JSON object; None when something was wrong."""
    if not isinstance(found, dict):
        problems.append(Problem(pointer, f"must be an object, found {_format_value(found)}"))
        return None
    known = {field.name: field for field in fields(kind)}
    hints = typing.get_type_hints(kind)
    before = len(problems)
    given: dict[str, Any] = {}
    for key, value in found.items():
        if key not in known:
            close = difflib.get_close_matches(key, known, 1)
            remedy = f'did you mean "{close[0]}"?' if close else f"known here: {', '.join(known)}"
            problems.append(Problem((*pointer, key), f"unknown key; {remedy}", at_key=True))
        else:
            given[key] = _read_value(known[key], hints[key], value, (*pointer, key), problems)
    for key, field in known.items():
        if key not in found and field.default is MISSING and field.default_factory is MISSING:
            problems.append(Problem(pointer, f'"{key}" is missing: {field.metadata["doc"]}'))
    return kind(**given) if len(problems) == before else None


def _read_value(
    field: Field[Any], hint: Any, found: object, pointer: tuple[str | int, ...], problems: list[Problem]
) -> Any:
    inner = _find_dataclass(hint)
    if inner is not None and typing.get_origin(hint) is tuple and field.name == "slots":
        if not isinstance(found, list) or not found:
            problems.append(Problem(pointer, f"must be a list with at least one object, found {_format_value(found)}"))
            return None
        return tuple(_read_object(inner, item, (*pointer, index), problems) for index, item in enumerate(found))
    if inner is not None and field.name != "rings":
        return _read_object(inner, found, pointer, problems)
    try:
        return field.metadata["read"](found)
    except InvalidValueError as error:
        problems.append(Problem(pointer, f"must be {error}, found {_format_value(found)}"))
        return None


def _find_dataclass(hint: Any) -> type | None:
    if isinstance(hint, type) and is_dataclass(hint):
        return hint
    if typing.get_origin(hint) in (tuple, typing.Union, types.UnionType):
        for part in typing.get_args(hint):
            if isinstance(part, type) and is_dataclass(part):
                return part
    return None


def _check_combinations(config: Config) -> Iterator[Problem]:
    """What no single key can be wrong about."""
    seen: dict[str, int] = {}
    ports: dict[str, str] = {}
    for index, group in enumerate(config.slots):
        if group.count > 1 and "NN" not in group.name:
            yield Problem(("slots", index, "name"), f"must contain NN, the number, when there are {group.count} slots")
            continue
        if group.engine not in {"docker", "podman", *config.engines}:
            names = ", ".join(["docker", "podman", *config.engines])
            yield Problem(("slots", index, "engine"), f'must be one of {names}, found "{group.engine}"')
        for name in group.list_slot_names(config.host):
            if name in seen:
                yield Problem(("slots", index, "name"), f"gives {name}, which slots[{seen[name]}] gives, too")
            seen[name] = index
            for port in group.ports:
                first, rest = port.split(":", 1)
                number = int(first) + group.list_slot_names(config.host).index(name)
                taken = f"{number}/{rest.partition('/')[2] or 'tcp'}"
                if taken in ports or number > 65535:
                    other = ports.get(taken, "no host: it is above 65535")
                    yield Problem(("slots", index, "ports"), f"gives {name} port {taken}, which belongs to {other}")
                ports[taken] = name


def _format_problems(problems: Iterable[Problem], text: str, name: str) -> Iterator[str]:
    import json_source_map  # loaded only when there is something to point at

    places = json_source_map.calculate(text)
    for problem in problems:
        pointer = "".join(f"/{str(part).replace('~', '~0').replace('/', '~1')}" for part in problem.pointer)
        entry = places[pointer]
        place = entry.key_start if problem.at_key and entry.key_start else entry.value_start
        path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in problem.pointer).lstrip(".")
        yield f"{name}:{place.line + 1}:{place.column + 1}: {path + ': ' if path else ''}{problem.sentence}"


def _format_value(found: object) -> str:
    shown = json.dumps(found)
    return shown if len(shown) <= 60 else f"{shown[:57]}..."
