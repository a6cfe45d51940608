"""Define the functions of a template, Go's own and ContainerPilot's, with the types of their arguments."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from autopilot.errors import AutopilotError
from autopilot.spec.gotemplate.escaping import escape_html, escape_javascript, escape_url_query
from autopilot.spec.gotemplate.formatting import format_print, format_printf, format_value, get_type_name

MAX_LOOP_ROUNDS = 10_000


class FunctionCallError(AutopilotError):
    """A call with arguments that the function cannot take."""


@dataclass(frozen=True, slots=True)
class Function:
    """A function of a template.

    Attributes:
        run: The implementation.
        argument_types: Go's type name of each argument, or "any".
        variadic: True when the last argument may be repeated or left out.
        needs_env: True when `run` takes the environment as its first argument.
        cost_estimator: Steps that a call costs; None: those of handling its values.
    """

    run: Callable[..., Any]
    argument_types: tuple[str, ...] = ()
    variadic: bool = False
    needs_env: bool = False
    cost_estimator: Callable[[list[Any]], int] | None = None

    def estimate_cost(self, values: list[Any]) -> int:
        """Return the steps that a call with these values costs."""
        return estimate_data_cost(values) if self.cost_estimator is None else self.cost_estimator(values)

    def call(self, values: list[Any], env: Mapping[str, str]) -> Any:
        """Check the values against the argument types and call the function; raise FunctionCallError."""
        minimum = len(self.argument_types) - self.variadic
        if len(values) < minimum or (len(values) > minimum and not self.variadic):
            raise FunctionCallError(
                f"it takes {'at least ' if self.variadic else ''}{minimum} arguments, got {len(values)}"
            )
        for index, value in enumerate(values):
            expected = self.argument_types[min(index, len(self.argument_types) - 1)]
            if expected not in ("any", get_type_name(value)) and not (expected == "[]string" and value == []):
                raise FunctionCallError(
                    f"argument {index + 1} must be a {expected}, got {get_type_name(value)} {format_value(value)[:40]}"
                )
        return self.run(env, *values) if self.needs_env else self.run(*values)


def estimate_data_cost(values: list[Any]) -> int:
    """Return the steps that handling these values costs: one for each 50 characters or items."""
    return sum(len(value) // 50 for value in values if isinstance(value, str | list))


def _use_default(fallback: Any, value: Any) -> str:
    return value if isinstance(value, str) and value else format_value(fallback)


def _get_environment_variable(env: Mapping[str, str], name: str) -> str:
    return env.get(name, "")


def _split(separator: str, text: str) -> list[str]:
    text = text.strip()
    if not text:
        return []
    return text.split(separator) if separator else list(text)


def _join(separator: str, items: list[str]) -> str:
    return separator.join(items)


def _replace_all(old: str, new: str, text: str) -> str:
    length = len(text) + text.count(old) * (len(new) - len(old))
    if length > 1 << 20:
        raise FunctionCallError(f"the result would be {length} characters long, more than {1 << 20}")
    return text.replace(old, new)


def _replace_all_regex(pattern: str, replacement: str, text: str) -> str:
    from autopilot.spec.gotemplate.patterns import PatternError, replace_all

    try:
        return replace_all(pattern, replacement, text)
    except PatternError as error:
        raise FunctionCallError(str(error)) from None


def _estimate_regex_cost(values: list[Any]) -> int:
    from autopilot.spec.gotemplate.patterns import PatternError, estimate_steps

    try:
        return estimate_steps(*values[::2]) // 1000 if all(isinstance(value, str) for value in values) else 0
    except (PatternError, TypeError):  # the call itself raises the better message
        return 0


def _list_loop_numbers(*bounds: Any) -> list[int]:
    if len(bounds) not in (1, 2):
        raise FunctionCallError(f"it takes one or two numbers, got {len(bounds)} arguments")
    numbers = [_parse_number(bound) for bound in bounds]
    start, stop = (0, numbers[0]) if len(numbers) == 1 else numbers
    if abs(stop - start) > MAX_LOOP_ROUNDS:
        raise FunctionCallError(f"a loop has at most {MAX_LOOP_ROUNDS} rounds, not {abs(stop - start)}")
    return list(range(start, stop, 1 if stop >= start else -1))


def _parse_number(bound: Any) -> int:
    if isinstance(bound, str) and re.fullmatch(r"[+-]?[0-9]{1,18}", bound):
        return int(bound)
    if isinstance(bound, bool) or not isinstance(bound, int):
        raise FunctionCallError(f"it takes whole numbers, got {get_type_name(bound)} {format_value(bound)[:40]!a}")
    return bound


def _require_comparable(left: Any, right: Any, *, ordered: bool) -> None:
    if isinstance(left, list | dict | None) or isinstance(right, list | dict | None):
        raise FunctionCallError(f"{get_type_name(left)} and {get_type_name(right)} cannot be compared")
    if get_type_name(left) != get_type_name(right):
        raise FunctionCallError(
            f"{get_type_name(left)} and {get_type_name(right)} are different types; quote numbers to compare them"
        )
    if ordered and isinstance(left, bool):
        raise FunctionCallError("true and false have no order")


def _is_equal_to_any(left: Any, *others: Any) -> bool:
    if not others:
        raise FunctionCallError("it takes at least 2 arguments, got 1")
    for other in others:
        _require_comparable(left, other, ordered=False)
        if left == other:
            return True
    return False


def _is_not_equal(left: Any, right: Any) -> bool:
    return not _is_equal_to_any(left, right)


def _compare_ordered(comparison: Callable[[Any, Any], bool], left: Any, right: Any) -> bool:
    _require_comparable(left, right, ordered=True)
    return comparison(left, right)


def _compute_length(value: Any) -> int:
    if not isinstance(value, str | list | dict):
        raise FunctionCallError(f"{get_type_name(value)} has no length")
    return len(value.encode(errors="surrogateescape")) if isinstance(value, str) else len(value)


def _get_item(value: Any, *keys: Any) -> Any:
    for key in keys:
        if isinstance(value, dict) and isinstance(key, str):
            value = value.get(key, "")
            continue
        items = value.encode(errors="surrogateescape") if isinstance(value, str) else value
        if not isinstance(items, list | bytes) or isinstance(key, bool) or not isinstance(key, int):
            raise FunctionCallError(f"{get_type_name(value)} has no item {format_value(key)[:40]}")
        if not 0 <= key < len(items):
            raise FunctionCallError(f"item {key} is out of range: there are {len(items)}")
        value = items[key]
    return value


def _slice(value: Any, *bounds: Any) -> Any:
    items = value.encode(errors="surrogateescape") if isinstance(value, str) else value
    if not isinstance(items, list | bytes):
        raise FunctionCallError(f"{get_type_name(value)} cannot be sliced")
    if len(bounds) > (2 if isinstance(value, str) else 3) or not all(type(bound) is int for bound in bounds):
        raise FunctionCallError("it takes whole numbers: the start and the end")
    start, stop = (*bounds, 0)[0], bounds[1] if len(bounds) > 1 else len(items)
    if not 0 <= start <= stop <= len(items):
        raise FunctionCallError(f"{start}:{stop} is out of range: the length is {len(items)}")
    part = items[start:stop]
    return part.decode(errors="replace") if isinstance(part, bytes) else part


def _refuse_call(value: Any, *_: Any) -> Any:
    raise FunctionCallError(f"{get_type_name(value)} is no function")


FUNCTIONS: dict[str, Function] = {
    "default": Function(_use_default, ("any", "any")),
    "env": Function(_get_environment_variable, ("string",), needs_env=True),
    "split": Function(_split, ("string", "string")),
    "join": Function(_join, ("string", "[]string")),
    "replaceAll": Function(_replace_all, ("string", "string", "string")),
    "regexReplaceAll": Function(
        _replace_all_regex, ("string", "string", "string"), cost_estimator=_estimate_regex_cost
    ),
    "loop": Function(_list_loop_numbers, ("any",), variadic=True),
    "eq": Function(_is_equal_to_any, ("any", "any"), variadic=True),
    "ne": Function(_is_not_equal, ("any", "any")),
    "lt": Function(partial(_compare_ordered, operator.lt), ("any", "any")),
    "le": Function(partial(_compare_ordered, operator.le), ("any", "any")),
    "gt": Function(partial(_compare_ordered, operator.gt), ("any", "any")),
    "ge": Function(partial(_compare_ordered, operator.ge), ("any", "any")),
    "not": Function(operator.not_, ("any",)),
    "len": Function(_compute_length, ("any",)),
    "index": Function(_get_item, ("any", "any"), variadic=True),
    "slice": Function(_slice, ("any", "any"), variadic=True),
    "print": Function(lambda *values: format_print(list(values)), ("any",), variadic=True),
    "println": Function(lambda *values: " ".join(map(format_value, values)) + "\n", ("any",), variadic=True),
    "printf": Function(lambda pattern, *values: format_printf(pattern, list(values)), ("string", "any"), variadic=True),
    "html": Function(lambda *values: escape_html(format_print(list(values))), ("any",), variadic=True),
    "js": Function(lambda *values: escape_javascript(format_print(list(values))), ("any",), variadic=True),
    "urlquery": Function(lambda *values: escape_url_query(format_print(list(values))), ("any",), variadic=True),
    "call": Function(_refuse_call, ("any", "any"), variadic=True),
}
FUNCTION_NAMES = frozenset(FUNCTIONS) | {"and", "or"}
