"""Test the template engine: it renders as Go does, refuses with a place where Go refuses, and is always bounded."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autopilot.spec import SpecError, load_text
from autopilot.spec.gotemplate.rendered_template import TemplateError
from autopilot.spec.gotemplate.rendering import render_template

VECTORS = json.loads((Path(__file__).parent.parent / "vectors" / "gotemplate.json").read_text())
ENV: dict[str, str] = VECTORS["env"]


def render(template: str) -> str:
    """Return the rendered text."""
    return render_template(template, ENV).text


def get_template_error(template: str) -> TemplateError:
    """Return the error of a template that must be refused."""
    with pytest.raises(TemplateError) as caught:
        render(template)
    return caught.value


@pytest.mark.parametrize("case", [c for c in VECTORS["cases"] if "ok" in c], ids=lambda c: c["template"])
def test_as_go_renders_it(case: dict[str, str]) -> None:
    """A template that Go accepts is rendered to the same characters."""
    assert render(case["template"]) == case["ok"]


@pytest.mark.parametrize("case", [c for c in VECTORS["cases"] if "err" in c], ids=lambda c: c["template"])
def test_as_go_refuses_it(case: dict[str, str]) -> None:
    """A template that Go refuses is refused with a message that begins with "cannot", and with a place."""
    error = get_template_error(case["template"])
    assert str(error).startswith("cannot")
    assert 0 <= error.offset <= len(case["template"])


@pytest.mark.parametrize("case", [c for c in VECTORS["cases"] if "err" in c], ids=lambda c: c["template"])
def test_refused_at_its_line(case: dict[str, str]) -> None:
    """In a job spec the problem stands at the line of the template that is wrong."""
    with pytest.raises(SpecError) as caught:
        load_text(f"{{ // a job spec\n// with a mistake below\n{case['template']}", env=ENV)
    (problem,) = caught.value.problems
    assert problem.line == 3 + case["template"].count("\n") and problem.column >= 1


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{{ .NOT_SET }}", ""),
        ("{{ if .EMPTY }}a{{ else if .USER }}b{{ else }}c{{ end }}", "b"),
        ("{{ with .EMPTY }}a{{ else }}b{{ end }}", "b"),
        ("{{ range loop 5 2 }}{{ . }}{{ end }}", "543"),
        ("{{ range loop 9 }}{{ if eq . 2 }}{{ break }}{{ end }}{{ . }}{{ end }}", "01"),
        ("{{ range loop 0 }}x{{ else }}none{{ end }}", "none"),
        ('{{ define "x" }}<{{ . }}>{{ end }}{{ template "x" .USER }}', "<pilot>"),
        ('{{ block "y" .USER }}[{{ . }}]{{ end }}', "[pilot]"),
        ("{{ $.USER }}", "pilot"),
        ("{{ (index . `USER`) }}", "pilot"),
        ('{{ replaceAll "i" "y" .USER }}', "pylot"),
        ('{{ regexReplaceAll "x*" "-" "abxd" }}', "-a-b-d-"),
        ('{{ regexReplaceAll "(a)(b)?" "[$2$1$$]" "ac" }}', "[a$]c"),
        ('{{ regexReplaceAll "a$" "x" "ba\\n" }}', "ba\n"),
        ('{{ regexReplaceAll "(?i)PI[^[:digit:]]" "x" .USER }}', "xot"),
        (
            '{{ html "<a b=\'c\'>" }}{{ urlquery "a b/c" }}{{ js "<\\n" }}',
            "&lt;a b=&#39;c&#39;&gt;a+b%2Fc\\u003C\\u000A",
        ),
        ('{{ slice "abcdef" 1 3 }}{{ index (split ":" .PARTS) 1 }}', "bcb"),
        ('{{ printf "%-5s|%5d|%q|%T|%c|%U" "a" 7 "é" 1.5 65 65 }}', 'a    |    7|"é"|float64|A|U+0041'),
        ('{{ printf "%d %y" "x" }}', "%!d(string=x) %!y(MISSING)"),
        ('{{ printf "%d" }}{{ printf "100%" }}', "%!d(MISSING)100%!(NOVERB)"),
        ("{{ 1e6 }} {{ 1e21 }} {{ 0.1 }} {{ -5 }} {{ 1.0 }}", "1e+06 1e+21 0.1 -5 1"),
        ("a {{- /* c */ -}} b", "ab"),
    ],
)
def test_more_of_go(template: str, text: str) -> None:
    """Further constructs render as Go documents them."""
    assert render(template) == text


@pytest.mark.parametrize(
    "template",
    [
        '{{ define "x" }}{{ template "x" }}{{ end }}{{ template "x" }}',
        "{{ range loop 10000 }}{{ range loop 10000 }}{{ range loop 10000 }}{{ end }}{{ end }}{{ end }}",
        '{{ $x := "aaaaaaaaaa" }}{{ range loop 10000 }}{{ $x = print $x $x }}{{ end }}',
        "{{ range loop 10000 }}{{ range loop 1000 }}0123456789012345678901234567890123456789{{ end }}{{ end }}",
        "{{ loop 1000000000 }}",
        '{{ printf "%999999999d" 1 | len | loop }}{{ nope }}',
        "{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}",
        "{{ if true }}" * 5000,
        '{{ regexReplaceAll "(a+)+$" "x" "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab" }}',
        '{{ regexReplaceAll "(a|a)*$" "x" "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab" }}',
        '{{ $x := printf "%5000d" 1 }}{{ regexReplaceAll "a*a*a*b" "x" $x }}',
        '{{ $x := printf "%5000d" 1 }}{{ replaceAll " " $x $x }}',
        '{{ regexReplaceAll "(a?){30}b" "x" "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" }}',
        '{{ regexReplaceAll "' + "a?" * 30 + "a" * 30 + '" "x" "' + "a" * 29 + '" }}',
        "{{ range loop 10000 }}{{ $x := loop 10000 }}{{ end }}",
        '{{ regexReplaceAll "(?=a)" "x" "a" }}',
        '{{ regexReplaceAll "(a)\\\\1" "x" "a" }}',
        '{{ regexReplaceAll "a**" "x" "a" }}',
        '{{ regexReplaceAll "(" "x" "a" }}',
    ],
)
def test_bounds(template: str) -> None:
    """Unbounded time, size or nesting is refused, and so is a pattern that RE2 and `re` read differently."""
    assert str(get_template_error(template)).startswith("cannot")


def test_a_value_keeps_its_second_equals_sign() -> None:
    """`{{ .VAR }}` does not cut a value at its second "=" (ContainerPilot #573)."""
    assert render_template("{{ .OPTIONS }}", {"OPTIONS": "a=b=c"}).text == "a=b=c"


@given(st.text())
def test_text_without_actions_is_itself(text: str) -> None:
    """A text without `{{` is rendered to itself, and every place stays where it is."""
    if "{{" not in text:
        result = render_template(text, ENV)
        assert result.text == text
        assert result.find_origin(len(text)) == (len(text), False)


PIECES = [
    "{{", "}}", "{{-", "-}}", " ", "if", "else", "end", "range", "with", "define", "template", "block", "break", '"x"',
    ".USER", ".", "$", "$x", ":=", "=", ",", "|", "(", ")", "1", "2.5", "'a'", "`r`", "loop", "split", "join", "eq",
    "and", "printf", '"%d%s%v"', "index", "slice", "len", "regexReplaceAll", '"(a+)b"', "nil", "true", "/*", "*/", "\n",
    "default", "env", "call", "not", "lt", "html", "text",
]  # fmt: skip


@given(
    st.lists(st.sampled_from(PIECES), max_size=25).map(" ".join)
    | st.lists(st.sampled_from(PIECES), max_size=12).map("".join)
)
def test_any_template_is_rendered_or_refused(template: str) -> None:
    """Any template ends with a text or with the engine's own error at a place of the template."""
    try:
        result = render_template(template, ENV)
    except TemplateError as error:
        assert 0 <= error.offset <= len(template)
        return
    assert all(0 <= result.find_origin(at)[0] <= len(template) for at in range(len(result.text) + 1))


@given(
    st.lists(
        st.sampled_from(
            ["a", "b+", "(", ")", "|", "[a-c]", "*", "?", "{2}", "$", "^", "\\\\d", ".", "(?i)", "[", "]", "{"]
        ),
        max_size=8,
    )
)
def test_any_pattern_ends(pieces: list[str]) -> None:
    """Any pattern ends with a text or with the engine's own error."""
    template = f'{{{{ regexReplaceAll "{"".join(pieces)}" "<$0$1${{2}}>" "aabbccaabbccaabbccaabbcc11" }}}}'
    try:
        assert isinstance(render(template), str)
    except TemplateError as error:
        assert str(error).startswith("cannot")


def test_problems_point_into_the_file_as_written() -> None:
    """A problem in copied text has its own place; in generated text, the place of the action."""
    text = '{{ range loop 3 }}\n{{ end -}}\n{jobs: [{name: "{{ .N }}", exec: "x", restarts: "{{ .R }}",\n'
    text += '  timeout: "1x"}]}'
    with pytest.raises(SpecError) as caught:
        load_text(text, "f", {"N": "long-name", "R": "some"})
    restarts, timeout = caught.value.problems
    assert str(restarts).startswith('f:3:49: jobs[long-name].restarts: cannot be "some"')
    assert (timeout.line, timeout.column, timeout.note) == (4, 12, "")


def test_a_place_in_generated_text_has_a_note() -> None:
    """For wrong text that the template generated, the message gives the place in the rendered text too."""
    with pytest.raises(SpecError) as caught:
        load_text("{jobs: [{exec: 'x', port:\n{{ .PORT }}}]}", "f", {"PORT": "[1,\n2}"})
    (problem,) = caught.value.problems
    assert (problem.line, problem.column) == (2, 1)
    assert problem.note == "in the text that the template renders here: its line 3, column 2"


def test_template_errors_have_a_place() -> None:
    """A template that cannot be rendered is refused with line and column."""
    with pytest.raises(SpecError) as caught:
        load_text("{jobs:\n  {{ .A | bad }}}", "f", {})
    assert str(caught.value).startswith('f:2:11: cannot call "bad": no such function')
