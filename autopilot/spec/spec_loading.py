"""Load a job spec file as a plan, or raise every problem with its line and column in the file as written."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from autopilot.spec import source_file
from autopilot.spec.findings import Finding
from autopilot.spec.key_paths import format_path
from autopilot.spec.load_result import LoadedSpec, Problem, SpecError
from autopilot.spec.template_variables import find_unset_variables

if TYPE_CHECKING:
    from autopilot.spec.gotemplate.rendered_template import RenderedTemplate
    from autopilot.spec.parsing import ParsedTree


def load(path: str | os.PathLike[str], env: Mapping[str, str] | None = None, *, runs_here: bool = True) -> LoadedSpec:
    """Load the job spec at a path.

    Args:
        path: The file; "-" is standard input.
        env: Variables that templates see; None: this process's environment.
        runs_here: True when the spec is to run on this machine, so that an unknown user is an error. Otherwise it is a
            warning, and missing programs are warned about as well.

    Raises:
        SpecError: The job spec cannot be used; holds every problem.
    """
    name = os.fspath(path)
    text = source_file.read_source("/dev/stdin" if name == "-" else name)
    return load_text(text, "<stdin>" if name == "-" else name, env, runs_here=runs_here)


def load_text(
    text: str, name: str = "<text>", env: Mapping[str, str] | None = None, *, runs_here: bool = True
) -> LoadedSpec:
    """Load a job spec from its text, as `load` does; messages call it `name`."""
    rendered = _render_source(source_file.check_source(text, name), name, env)
    mapper = _PositionMapper(name, rendered, os.environ if env is None else env)
    from autopilot.spec.parsing import SpecSyntaxError, parse

    try:
        tree = parse(rendered.text)
    except SpecSyntaxError as error:
        raise SpecError([mapper.build_problem(error.offset, "", error.message)]) from None
    return _build_loaded_spec(tree, mapper, runs_here=runs_here)


def render(path: str | os.PathLike[str], env: Mapping[str, str] | None = None) -> str:
    """Return the text after the template, unparsed, as ContainerPilot's -template prints it; raise SpecError."""
    name = os.fspath(path)
    return _render_source(source_file.read_source(name), name, env).text


def _render_source(text: str, name: str, env: Mapping[str, str] | None) -> RenderedTemplate:
    from autopilot.spec.gotemplate.rendered_template import TemplateError
    from autopilot.spec.gotemplate.rendering import render_template

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
    """Converts offsets in the rendered text to lines and columns of the file as written."""

    def __init__(self, name: str, rendered: RenderedTemplate, env: Mapping[str, str]) -> None:
        self.name = name
        self.rendered = rendered
        self.env = env

    def map_findings(self, findings: Iterable[Finding], tree: ParsedTree) -> list[tuple[Finding, Problem]]:
        """Return every finding with its problem, in the order of the file."""
        pairs = [(f, tree.find_offset(f.path, at_key=f.at_key)) for f in findings]
        pairs.sort(key=lambda pair: pair[1])
        return [
            (f, self.build_problem(offset, format_path(f.path, tree.value), f.message, customary=f.customary))
            for f, offset in pairs
        ]

    def build_problem(self, offset: int, path: str, message: str, *, customary: bool = False) -> Problem:
        origin, generated = self.rendered.find_origin(offset)
        line, column = source_file.find_line_and_column(self.rendered.template, origin)
        note = ""
        if generated:
            rendered_line, rendered_column = source_file.find_line_and_column(self.rendered.text, offset)
            note = f"in the text that the template renders here: its line {rendered_line}, column {rendered_column}"
        if unset := find_unset_variables(self.rendered.template, origin, self.env):
            remedy = f"set {', '.join(unset)}: the template reads {'it' if len(unset) == 1 else 'them'}"
            note = f"{remedy}; {note}" if note else remedy
        return Problem(
            message=message, path=path, line=line, column=column, file=self.name, note=note, customary=customary
        )
