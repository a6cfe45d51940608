"""load: from a file to a plan, or to every problem with its line and column in the file as written."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from autopilot.spec import source_file
from autopilot.spec.findings import Finding, format_path
from autopilot.spec.load_result import LoadedSpec, Problem, SpecError

if TYPE_CHECKING:
    from autopilot.spec.parsing import ParsedTree
    from autopilot.spec.spec_rendering import RenderedTemplate


def load(path: str | os.PathLike[str], env: Mapping[str, str] | None = None, *, runs_here: bool = True) -> LoadedSpec:
    """Load the job spec at `path`; "-" is standard input. `env` is what templates see: the process's own when left out.

    `here`: the spec is to run on this machine, so an unknown user is an error. Otherwise it is a warning, and missing
    programs are warned about as well. Raises SpecError.
    """
    name = os.fspath(path)
    text = source_file.read_source("/dev/stdin" if name == "-" else name)
    return load_text(text, "<stdin>" if name == "-" else name, env, runs_here=runs_here)


def load_text(
    text: str, name: str = "<text>", env: Mapping[str, str] | None = None, *, runs_here: bool = True
) -> LoadedSpec:
    """As `load`, with the text at hand; `name` is what messages call it."""
    rendered = _render_source(source_file.check_source(text, name), name, env)
    place = _PositionMapper(name, rendered)
    from autopilot.spec.parsing import SpecSyntaxError, parse

    try:
        tree = parse(rendered.text)
    except SpecSyntaxError as error:
        raise SpecError([place.build_problem(error.offset, "", error.message)]) from None
    return _build_loaded_spec(tree, place, runs_here=runs_here)


def render(path: str | os.PathLike[str], env: Mapping[str, str] | None = None) -> str:
    """The text after the template, unparsed: what ContainerPilot's -template prints. Raises SpecError."""
    name = os.fspath(path)
    return _render_source(source_file.read_source(name), name, env).text


def _render_source(text: str, name: str, env: Mapping[str, str] | None) -> RenderedTemplate:
    from autopilot.spec.spec_rendering import TemplateError, render_template

    try:
        return render_template(text, os.environ if env is None else env)
    except TemplateError as error:
        line, column = source_file.find_line_and_column(text, error.offset)
        raise SpecError([Problem(file=name, line=line, column=column, message=str(error))]) from None


def _build_loaded_spec(tree: ParsedTree, position_mapper: _PositionMapper, *, runs_here: bool) -> LoadedSpec:
    from autopilot.spec.validation import validate_tree

    plan, findings = validate_tree(tree, runs_here=runs_here)
    problems = position_mapper.map_findings(findings, tree)
    warnings = [p for f, p in problems if f.warning]
    if plan is None:
        raise SpecError([p for f, p in problems if not f.warning], warnings)
    return LoadedSpec(plan, tuple(warnings), position_mapper.rendered.text)


class _PositionMapper:
    """Turns offsets in the rendered text into lines and columns of the file as written."""

    def __init__(self, name: str, rendered: RenderedTemplate) -> None:
        self.name = name
        self.rendered = rendered

    def map_findings(self, findings: Iterable[Finding], tree: ParsedTree) -> list[tuple[Finding, Problem]]:
        """Every finding with its problem, in the order of the file."""
        placed = [(f, tree.find_offset(f.path, at_key=f.at_key)) for f in findings]
        placed.sort(key=lambda pair: pair[1])
        return [(f, self.build_problem(offset, format_path(f.path, tree.value), f.message)) for f, offset in placed]

    def build_problem(self, offset: int, path: str, message: str) -> Problem:
        written, made = self.rendered.find_origin(offset)
        line, column = source_file.find_line_and_column(self.rendered.template, written)
        note = ""
        if made:
            rendered_line, rendered_column = source_file.find_line_and_column(self.rendered.text, offset)
            note = f"in what the template renders here: line {rendered_line}, column {rendered_column} of that text"
        return Problem(file=self.name, path=path, line=line, column=column, message=message, note=note)
