"""load: from a file to a plan, or to every problem with its line and column in the file as written."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from autopilot.spec import source
from autopilot.spec.findings import Finding, path_text
from autopilot.spec.outcome import Loaded, Problem, SpecError

if TYPE_CHECKING:
    from autopilot.spec.parsing import Tree
    from autopilot.spec.rendering import Rendered


def load(path: str | os.PathLike[str], env: Mapping[str, str] | None = None, *, here: bool = True) -> Loaded:
    """Load the job spec at `path`; "-" is standard input. `env` is what templates see: the process's own when left out.

    `here`: the spec is to run on this machine, so an unknown user is an error. Otherwise it is a warning, and missing
    programs are warned about as well. Raises SpecError.
    """
    name = os.fspath(path)
    text = source.read("/dev/stdin" if name == "-" else name)
    return load_text(text, "<stdin>" if name == "-" else name, env, here=here)


def load_text(text: str, name: str = "<text>", env: Mapping[str, str] | None = None, *, here: bool = True) -> Loaded:
    """As `load`, with the text at hand; `name` is what messages call it."""
    rendered = _rendered(source.checked(text, name), name, env)
    place = _Places(name, rendered)
    from autopilot.spec.parsing import SyntaxProblem, parse

    try:
        tree = parse(rendered.text)
    except SyntaxProblem as error:
        raise SpecError([place.at(error.offset, "", error.message)]) from None
    return _loaded(tree, place, here=here)


def render(path: str | os.PathLike[str], env: Mapping[str, str] | None = None) -> str:
    """The text after the template, unparsed: what ContainerPilot's -template prints. Raises SpecError."""
    name = os.fspath(path)
    return _rendered(source.read(name), name, env).text


def _rendered(text: str, name: str, env: Mapping[str, str] | None) -> Rendered:
    from autopilot.spec.rendering import TemplateError, rendered

    try:
        return rendered(text, os.environ if env is None else env)
    except TemplateError as error:
        line, column = source.place(text, error.offset)
        raise SpecError([Problem(file=name, line=line, column=column, message=str(error))]) from None


def _loaded(tree: Tree, place: _Places, *, here: bool) -> Loaded:
    from autopilot.spec.validation import validated

    plan, findings = validated(tree, here=here)
    problems = place.all(findings, tree)
    warnings = [p for f, p in problems if f.warning]
    if plan is None:
        raise SpecError([p for f, p in problems if not f.warning], warnings)
    return Loaded(plan, tuple(warnings), place.rendered.text)


class _Places:
    """Turns offsets in the rendered text into lines and columns of the file as written."""

    def __init__(self, name: str, rendered: Rendered) -> None:
        self.name = name
        self.rendered = rendered

    def all(self, findings: Iterable[Finding], tree: Tree) -> list[tuple[Finding, Problem]]:
        """Every finding with its problem, in the order of the file."""
        placed = [(f, tree.offset(f.path, of_key=f.of_key)) for f in findings]
        placed.sort(key=lambda pair: pair[1])
        return [(f, self.at(offset, path_text(f.path, tree.value), f.message)) for f, offset in placed]

    def at(self, offset: int, path: str, message: str) -> Problem:
        written, made = self.rendered.origin(offset)
        line, column = source.place(self.rendered.template, written)
        note = ""
        if made:
            rendered_line, rendered_column = source.place(self.rendered.text, offset)
            note = f"in what the template renders here: line {rendered_line}, column {rendered_column} of that text"
        return Problem(file=self.name, path=path, line=line, column=column, message=message, note=note)
