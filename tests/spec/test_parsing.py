"""Test JSON and JSON5: values, places and syntax errors."""

from __future__ import annotations

import json
from typing import Any

import pyjson5
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autopilot.spec import SpecError, load_text, scanner
from autopilot.spec.parsing import SpecSyntaxError, parse

TREES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**40), 2**40)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def get_syntax_error(text: str) -> tuple[int, int, str]:
    """Return line, column and message of the only problem of a text."""
    with pytest.raises(SpecError) as caught:
        load_text(text, env={})
    (problem,) = caught.value.problems
    return problem.line, problem.column, problem.message


@pytest.mark.parametrize(
    ("text", "line", "column", "message"),
    [
        ('{"a" 1}', 1, 6, 'expected ":" after the key, found "1"'),
        ('{"a": 1 "b": 2}', 1, 9, 'expected "," or "}" after the value, found "b"'),
        ('{\n"a": [1, 2\n', 3, 1, 'expected "," or "]", found the end; "[" of line 2 is not closed'),
        ("{a: 1,,}", 1, 7, 'expected a key or "}", found ","'),
        ("[1 2]", 1, 4, 'expected "," or "]" after the value, found "2"'),
        ("{a: tru}", 1, 5, 'expected a value, found "tru"; put strings in quotes'),
        ("{a: }", 1, 5, 'expected a value, found "}"'),
        ("{a:", 1, 4, "expected a value, found the end of the text"),
        ('{"a": "x\n}', 1, 7, 'the string that begins here is not closed in its line; end it with "'),
        ("/* x", 1, 1, "this comment is not closed; end it with */"),
        ("{} x", 1, 4, 'expected the end of the text, found "x"'),
        ("jobs: []", 1, 1, 'expected a value, found "jobs"; put strings in quotes'),
        ("{1a: 2}", 1, 2, 'expected a key or "}", found "1a"'),
        ("{a: 1e999}", 1, 5, 'this number is too large: "1e999"'),
        ("{a: '\\ud800'}", 1, 6, "a string cannot contain '\\\\ud800' here; for a backslash write two"),
        ('{"a": "\\u0000"}', 1, 8, "a string cannot contain '\\\\u0000' here; for a backslash write two"),
        ("{a: 'C:\\x'}", 1, 8, "a string cannot contain '\\\\x' here; for a backslash write two"),
        ("[" * 10_000, 1, 34, "cannot be nested deeper than 32 levels"),
        ('{"a": 1' + "1" * 5000 + "}", 1, 7, 'this number is too large: "' + "1" * 37 + '..."'),
    ],
)
def test_syntax_errors(text: str, line: int, column: int, message: str) -> None:
    """A syntax error names the exact place, what was expected and what was found."""
    assert get_syntax_error(text) == (line, column, message)


def test_json5() -> None:
    """Comments, unquoted keys, single quotes, trailing commas and JSON5's numbers are read."""
    text = "// c\n{a: 'x', /* d */ $b_1: [.5, 0x1F, +1, 2.,], 'c\\u0041': \"l\\\nm\",}"
    assert parse(text).value == {"a": "x", "$b_1": [0.5, 31, 1, 2.0], "cA": "lm"}


def test_duplicate_keys_are_refused_with_everything_else() -> None:
    """A key given twice in one object is refused at its second place, together with other problems."""
    with pytest.raises(SpecError) as caught:
        load_text('{"jobs": [{"name": "a",\n "name": "b", "exec": 7}]}', env={})
    assert [(p.line, p.column, p.path) for p in caught.value.problems] == [
        (2, 2, "jobs[b].name"),
        (2, 23, "jobs[b].exec"),
    ]


def test_a_duplicate_key_is_one_problem() -> None:
    """A key given three times is one problem, and so are the keys in its values."""
    text = (
        "{jobs: [{exec: 'a', health: {exec: 'x', ttl: 5}, health: {exec: 'x', ttl: 6}, health: {ttl: 5, exec: 'x'}}]}"
    )
    with pytest.raises(SpecError) as caught:
        load_text(text, env={})
    assert [p.path for p in caught.value.problems] == ["jobs[0].health"]


@given(TREES, st.sampled_from([None, 1]))
def test_places_lead_to_their_values(tree: Any, indent: int | None) -> None:
    """The offset of every path of any JSON text is the place of that value."""
    text = json.dumps(tree, ensure_ascii=False, indent=indent)
    if "\\u0000" in text:
        return
    positions = scanner.scan(text)
    for path, offset in positions.values.items():
        value = tree
        for step in path:
            value = value[step]
        decoded, _ = json.JSONDecoder().raw_decode(text, offset)
        assert decoded == value
    for path, offset in positions.keys.items():
        assert json.JSONDecoder().raw_decode(text, offset)[0] == path[-1]


@given(st.text(alphabet="{}[]:,\"'\\ux0123aeEtrfnul+-.\n /*#$", max_size=30) | st.text(max_size=20))
def test_what_the_scanner_accepts_the_library_reads(text: str) -> None:
    """Any text is read as pyjson5 reads it, or refused with a SpecSyntaxError at a place inside of it."""
    try:
        value = parse(text).value
    except SpecSyntaxError as problem:
        assert 0 <= problem.offset <= len(text)
        return
    if "\\u" not in text:
        assert repr(value) == repr(pyjson5.decode(text)) or json.loads(text) == value


@given(st.text(alphabet="{}[]:,\"'\\ajobsexc0123. \n/*", max_size=40) | st.text() | TREES.map(json.dumps))
def test_any_text_is_loaded_or_refused(text: str) -> None:
    """Any text gives a plan or a SpecError with at least one problem, and nothing else."""
    try:
        assert load_text(text, env={}).plan.jobs
    except SpecError as error:
        assert error.problems
        assert all(problem.message for problem in error.problems)
