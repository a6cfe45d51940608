"""The functions of a template: Go's own and ContainerPilot's, each with the types it takes."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from autopilot.spec.gotemplate.escaping import html, javascript, query
from autopilot.spec.gotemplate.formatting import formatted, printed, type_name, value_text

MOST_LOOP = 10_000


class Refused(Exception):
    """A function cannot take what it was given."""


@dataclass(frozen=True, slots=True)
class Function:
    """`takes` names the types of the arguments; the last one repeats when `many`."""

    run: Callable[..., Any]
    takes: tuple[str, ...] = ()
    many: bool = False
    wants_env: bool = False
    work: Callable[[list[Any]], int] | None = None  # steps it costs, where they are not those of its data

    def cost(self, values: list[Any]) -> int:
        return data_cost(values) if self.work is None else self.work(values)

    def call(self, values: list[Any], env: Mapping[str, str]) -> Any:
        least = len(self.takes) - self.many
        if len(values) < least or (len(values) > least and not self.many):
            raise Refused(f"it takes {'at least ' if self.many else ''}{least} arguments, got {len(values)}")
        for index, value in enumerate(values):
            wanted = self.takes[min(index, len(self.takes) - 1)]
            if wanted not in ("any", type_name(value)) and not (wanted == "[]string" and value == []):
                raise Refused(
                    f"argument {index + 1} must be a {wanted}, got {type_name(value)} {value_text(value)[:40]}"
                )
        return self.run(env, *values) if self.wants_env else self.run(*values)


def data_cost(values: list[Any]) -> int:
    """The steps that handling these values counts for: long texts and lists cost more."""
    return sum(len(value) // 50 for value in values if isinstance(value, str | list))


def _default(fallback: Any, value: Any) -> str:
    return value if isinstance(value, str) and value else value_text(fallback)


def _env(env: Mapping[str, str], name: str) -> str:
    return env.get(name, "")


def _split(separator: str, text: str) -> list[str]:
    text = text.strip()
    if not text:
        return []
    return text.split(separator) if separator else list(text)


def _join(separator: str, items: list[str]) -> str:
    return separator.join(items)


def _replace_all(old: str, new: str, text: str) -> str:
    grown = len(text) + text.count(old) * (len(new) - len(old))
    if grown > 1 << 20:
        raise Refused(f"the result would be {grown} characters long")
    return text.replace(old, new)


def _regex_replace_all(pattern: str, replacement: str, text: str) -> str:
    from autopilot.spec.gotemplate.patterns import PatternError, replace_all

    try:
        return replace_all(pattern, replacement, text)
    except PatternError as error:
        raise Refused(str(error)) from None


def _regex_work(values: list[Any]) -> int:
    from autopilot.spec.gotemplate.patterns import PatternError, work

    try:
        return work(*values[::2]) // 1000 if all(isinstance(value, str) for value in values) else 0
    except (PatternError, TypeError):  # the call itself says it better
        return 0


def _loop(*bounds: Any) -> list[int]:
    if len(bounds) not in (1, 2):
        raise Refused(f"it takes one or two numbers, got {len(bounds)} arguments")
    numbers = [_number(bound) for bound in bounds]
    start, stop = (0, numbers[0]) if len(numbers) == 1 else numbers
    if abs(stop - start) > MOST_LOOP:
        raise Refused(f"a loop has at most {MOST_LOOP} rounds, not {abs(stop - start)}")
    return list(range(start, stop, 1 if stop >= start else -1))


def _number(bound: Any) -> int:
    if isinstance(bound, str) and re.fullmatch(r"[+-]?[0-9]{1,18}", bound):
        return int(bound)
    if isinstance(bound, bool) or not isinstance(bound, int):
        raise Refused(f"it takes whole numbers, got {type_name(bound)} {value_text(bound)[:40]!a}")
    return bound


def _comparable(left: Any, right: Any, *, ordered: bool) -> None:
    if isinstance(left, list | dict | None) or isinstance(right, list | dict | None):
        raise Refused(f"{type_name(left)} and {type_name(right)} cannot be compared")
    if type_name(left) != type_name(right):
        raise Refused(
            f"{type_name(left)} and {type_name(right)} are different types; quote numbers to compare with variables"
        )
    if ordered and isinstance(left, bool):
        raise Refused("true and false have no order")


def _equal(left: Any, *others: Any) -> bool:
    if not others:
        raise Refused("it takes at least 2 arguments, got 1")
    for other in others:
        _comparable(left, other, ordered=False)
        if left == other:
            return True
    return False


def _not_equal(left: Any, right: Any) -> bool:
    return not _equal(left, right)


def _ordered(decide: Callable[[Any, Any], bool], left: Any, right: Any) -> bool:
    _comparable(left, right, ordered=True)
    return decide(left, right)


def _length(value: Any) -> int:
    if not isinstance(value, str | list | dict):
        raise Refused(f"{type_name(value)} has no length")
    return len(value.encode(errors="surrogateescape")) if isinstance(value, str) else len(value)


def _index(value: Any, *keys: Any) -> Any:
    for key in keys:
        if isinstance(value, dict) and isinstance(key, str):
            value = value.get(key, "")
            continue
        items = value.encode(errors="surrogateescape") if isinstance(value, str) else value
        if not isinstance(items, list | bytes) or isinstance(key, bool) or not isinstance(key, int):
            raise Refused(f"{type_name(value)} has no item {value_text(key)[:40]}")
        if not 0 <= key < len(items):
            raise Refused(f"item {key} is out of range: there are {len(items)}")
        value = items[key]
    return value


def _slice(value: Any, *bounds: Any) -> Any:
    items = value.encode(errors="surrogateescape") if isinstance(value, str) else value
    if not isinstance(items, list | bytes):
        raise Refused(f"{type_name(value)} cannot be cut")
    if len(bounds) > (2 if isinstance(value, str) else 3) or not all(type(bound) is int for bound in bounds):
        raise Refused("it takes whole numbers: where to begin and where to end")
    start, stop = (*bounds, 0)[0], bounds[1] if len(bounds) > 1 else len(items)
    if not 0 <= start <= stop <= len(items):
        raise Refused(f"{start}:{stop} is out of range: the length is {len(items)}")
    cut = items[start:stop]
    return cut.decode(errors="replace") if isinstance(cut, bytes) else cut


def _call(value: Any, *_: Any) -> Any:
    raise Refused(f"{type_name(value)} is no function")


TABLE: dict[str, Function] = {
    "default": Function(_default, ("any", "any")),
    "env": Function(_env, ("string",), wants_env=True),
    "split": Function(_split, ("string", "string")),
    "join": Function(_join, ("string", "[]string")),
    "replaceAll": Function(_replace_all, ("string", "string", "string")),
    "regexReplaceAll": Function(_regex_replace_all, ("string", "string", "string"), work=_regex_work),
    "loop": Function(_loop, ("any",), many=True),
    "eq": Function(_equal, ("any", "any"), many=True),
    "ne": Function(_not_equal, ("any", "any")),
    "lt": Function(partial(_ordered, operator.lt), ("any", "any")),
    "le": Function(partial(_ordered, operator.le), ("any", "any")),
    "gt": Function(partial(_ordered, operator.gt), ("any", "any")),
    "ge": Function(partial(_ordered, operator.ge), ("any", "any")),
    "not": Function(operator.not_, ("any",)),
    "len": Function(_length, ("any",)),
    "index": Function(_index, ("any", "any"), many=True),
    "slice": Function(_slice, ("any", "any"), many=True),
    "print": Function(lambda *values: printed(list(values)), ("any",), many=True),
    "println": Function(lambda *values: " ".join(map(value_text, values)) + "\n", ("any",), many=True),
    "printf": Function(lambda pattern, *values: formatted(pattern, list(values)), ("string", "any"), many=True),
    "html": Function(lambda *values: html(printed(list(values))), ("any",), many=True),
    "js": Function(lambda *values: javascript(printed(list(values))), ("any",), many=True),
    "urlquery": Function(lambda *values: query(printed(list(values))), ("any",), many=True),
    "call": Function(_call, ("any", "any"), many=True),
}
KNOWN = frozenset(TABLE) | {"and", "or"}
