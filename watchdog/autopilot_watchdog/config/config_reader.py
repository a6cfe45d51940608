"""Read the configuration's text into a Config; report every problem at once, with place, found value and remedy."""

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

from autopilot_watchdog.bounded_json import parse_json
from autopilot_watchdog.config.canary_check import find_canary_problems
from autopilot_watchdog.config.config_model import DEFAULT_ENGINE_SOCKETS, Config
from autopilot_watchdog.config.placeholder_check import find_placeholder_problems
from autopilot_watchdog.config.placeholders import expand_number_words
from autopilot_watchdog.config.slot_config import SlotGroup, fill_group
from autopilot_watchdog.config.slot_resources import shift_ip, shift_mac
from autopilot_watchdog.config.value_readers import InvalidValueError
from autopilot_watchdog.errors import WatchdogError


@dataclass(frozen=True, slots=True)
class Problem:
    """Problem of a configuration, at one place of the document."""

    pointer: tuple[str | int, ...]  # keys and indexes from the root to the place
    sentence: str
    at_key: bool = False  # the key is wrong, not its value


class ConfigError(WatchdogError):
    """The configuration cannot be used; every problem has one line."""

    def __init__(self, lines: Iterable[str]) -> None:
        self.lines = list(lines)
        super().__init__("\n".join(self.lines))


def load_config(path: Path) -> Config:
    """Read and validate a configuration file.

    Raises:
        ConfigError: The file cannot be read, or has problems.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")  # editors of other systems write a mark at the begin
    except OSError as error:
        remedy = "name it by --config or $AUTOPILOT_WATCHDOG_CONFIG"
        raise ConfigError([f"{path}: cannot read the configuration: {error.strerror}; {remedy}"]) from None
    except UnicodeDecodeError as error:
        raise ConfigError([f"{path}: cannot read the configuration: it is not UTF-8: {error.reason}"]) from None
    return parse_config(text, str(path))


def parse_config(text: str, name: str = "config") -> Config:
    """Validate a configuration's text.

    Args:
        text: The JSON document.
        name: The document's name in the messages.

    Raises:
        ConfigError: The document has problems.
    """
    duplicates: list[str] = []

    def collect_duplicate_keys(pairs: list[tuple[str, object]]) -> dict[str, object]:
        keys = [key for key, _ in pairs]
        duplicates.extend(key for key in set(keys) if keys.count(key) > 1)
        return dict(pairs)

    try:
        document = parse_json(text, object_pairs_hook=collect_duplicate_keys)
    except json.JSONDecodeError as error:
        sentence = f"cannot read the configuration as JSON: {error.msg}"
        raise ConfigError([f"{name}:{error.lineno}:{error.colno}: {sentence}"]) from None
    except ValueError as error:
        raise ConfigError([f"{name}: cannot read the configuration as JSON: {error}"]) from None
    problems: list[Problem] = [Problem((), f'the key "{key}" is given twice; keep one') for key in duplicates]
    config = _read_object(Config, document, (), problems)
    if config is not None and not problems:
        config = replace(config, host=config.host or socket.gethostname().split(".")[0])
        problems += _check_combinations(config)
    if problems or config is None:
        raise ConfigError(_format_problems(problems, text, name))
    return typing.cast(Config, config)


def _read_object(kind: type, json_value: object, pointer: tuple[str | int, ...], problems: list[Problem]) -> Any:
    """Build the dataclass `kind` from a JSON object; return None and add to `problems` if it has any."""
    if not isinstance(json_value, dict):
        problems.append(Problem(pointer, f"must be an object, found {_format_value(json_value)}"))
        return None
    known = {field.name: field for field in fields(kind)}
    hints = typing.get_type_hints(kind)
    before = len(problems)
    given: dict[str, Any] = {}
    for key, value in json_value.items():
        if key not in known:
            close = difflib.get_close_matches(key, known, 1)
            remedy = f'did you mean "{close[0]}"?' if close else f"known here: {', '.join(known)}"
            problems.append(Problem((*pointer, key), f"unknown key; {remedy}", at_key=True))
        else:
            given[key] = _read_value(known[key], hints[key], value, (*pointer, key), problems)
    for key, field in known.items():
        if key not in json_value and field.default is MISSING and field.default_factory is MISSING:
            problems.append(Problem(pointer, f'"{key}" is missing: {field.metadata["doc"]}'))
    return kind(**given) if len(problems) == before else None


def _read_value(
    field: Field[Any], hint: Any, json_value: object, pointer: tuple[str | int, ...], problems: list[Problem]
) -> Any:
    inner = _find_dataclass(hint)
    if inner is not None and typing.get_origin(hint) is tuple and field.name == "slots":
        if not isinstance(json_value, list) or not json_value:
            problems.append(
                Problem(pointer, f"must be a list with at least one object, found {_format_value(json_value)}")
            )
            return None
        return tuple(_read_object(inner, item, (*pointer, index), problems) for index, item in enumerate(json_value))
    if inner is not None and field.name not in ("rings", "windows", "promote"):
        return _read_object(inner, json_value, pointer, problems)
    try:
        return field.metadata["read"](json_value)
    except InvalidValueError as error:
        problems.append(Problem(pointer, f"must be {error}, found {_format_value(json_value)}"))
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
    """Yield the problems of keys that are right by themselves and wrong together."""
    groups_by_slot: dict[str, int] = {}
    slots_by_port: dict[str, str] = {}
    slots_by_address: dict[str, str] = {}
    engines = list(dict.fromkeys([*DEFAULT_ENGINE_SOCKETS, *config.engines]))
    yield from (Problem(place, sentence) for place, sentence in find_placeholder_problems(config))
    yield from (Problem(place, sentence) for place, sentence in find_canary_problems(config))
    for index, group in enumerate(config.slots):
        pattern = expand_number_words(group.name)
        if group.count > 1 and "{number}" not in pattern and "{index}" not in pattern:
            remedy = "; NN counts only when it stands alone, else write {number}" if "NN" in group.name else ""
            sentence = f"must contain NN, the number, when there are {group.count} slots{remedy}"
            yield Problem(("slots", index, "name"), sentence)
            continue
        if group.engine not in engines:
            sentence = f'must be one of {", ".join(engines)}, found "{group.engine}"'
            yield Problem(("slots", index, "engine"), sentence)
        for offset, name in enumerate(group.list_slot_names(config.host)):
            if name in groups_by_slot:
                other_group = groups_by_slot[name]
                yield Problem(("slots", index, "name"), f"gives {name}, which slots[{other_group}] gives, too")
            groups_by_slot[name] = index
            filled = fill_group(group, config.host, offset + 1)
            yield from _check_addresses(index, filled, offset + 1, slots_by_address)
            for port in group.ports:
                first, rest = port.split(":", 1)
                number = int(first) + offset
                taken = f"{number}/{rest.partition('/')[2] or 'tcp'}"
                if taken in slots_by_port or number > 65535:
                    other = slots_by_port.get(taken, "no host: it is above 65535")
                    yield Problem(("slots", index, "ports"), f"gives {name} port {taken}, which belongs to {other}")
                slots_by_port[taken] = name


def _check_addresses(index: int, group: SlotGroup, number: int, owners: dict[str, str]) -> Iterator[Problem]:
    """Yield the problems of one slot's addresses; `owners` has the slots by address and grows."""
    slot = group.list_slot_names("host")[number - 1]
    shared = group.network in ("host", "none") or group.network.startswith("container:")
    if group.ip and number == 1 and (shared or group.network in ("", "bridge")):
        yield Problem(("slots", index, "ip"), "needs a `network` with a name, whose addresses the engine gives out")
    if group.mac and number == 1 and shared:
        yield Problem(("slots", index, "mac"), f'cannot be set for the network "{group.network}"')
    try:
        ip = shift_ip(group.ip, number) if group.ip else ""
    except ValueError:
        yield Problem(("slots", index, "ip"), f"has no address for slot {number}")
        ip = ""
    for key, address in (("ip", ip), ("mac", shift_mac(group.mac, number) if group.mac else "")):
        place = f"{group.network} {address}"
        if address and place in owners:
            yield Problem(("slots", index, key), f"gives {slot} {address}, which belongs to {owners[place]}")
        if address:
            owners[place] = slot


def _format_problems(problems: Iterable[Problem], text: str, name: str) -> Iterator[str]:
    import json_source_map  # loaded only when there is something to point at

    places = json_source_map.calculate(text)
    for problem in problems:
        pointer = "".join(f"/{str(part).replace('~', '~0').replace('/', '~1')}" for part in problem.pointer)
        entry = places[pointer]
        place = entry.key_start if problem.at_key and entry.key_start else entry.value_start
        path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in problem.pointer).lstrip(".")
        yield f"{name}:{place.line + 1}:{place.column + 1}: {path + ': ' if path else ''}{problem.sentence}"


def _format_value(json_value: object) -> str:
    shown = json.dumps(json_value)
    return shown if len(shown) <= 60 else f"{shown[:57]}..."
