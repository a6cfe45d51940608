"""Convert the text of a configuration of ContainerPilot 2 or of supervisord to the text of a job spec."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from autopilot.spec.conversion.containerpilot2_converter import convert_containerpilot2
from autopilot.spec.conversion.conversion_notes import Conversion, Note
from autopilot.spec.conversion.spec_writer import SpecWriter
from autopilot.spec.conversion.supervisord_converter import convert_supervisord
from autopilot.spec.conversion.supervisord_source import ConfigSection, Setting, parse_sections, read_included
from autopilot.spec.conversion.template_holes import Holes, TemplateKeepingError
from autopilot.spec.conversion.template_source import KeptSource, keep_actions, list_variables
from autopilot.spec.gotemplate.rendered_template import RenderedTemplate, TemplateError
from autopilot.spec.gotemplate.rendering import render_template
from autopilot.spec.key_paths import KeyPath, format_path
from autopilot.spec.load_result import Problem, SpecError
from autopilot.spec.parsing import ParsedTree, SpecSyntaxError, parse
from autopilot.spec.source_file import build_spec_error, find_line_and_column, read_source

CONTAINERPILOT2, SUPERVISORD = "containerpilot2", "supervisord"
_HEAD = "Converted from {kind} by `autopilot convert`. Check it with `autopilot check`."
_NOTHING_ESSENTIAL = (
    "Set essential: true in the job that the container cannot do without: its end is the container's end."
)
KINDS = {CONTAINERPILOT2: "ContainerPilot 2", SUPERVISORD: "supervisord"}

_SUPERVISORD_SECTION = re.compile(
    r"^\[(?:(?:program|group|eventlistener|fcgi-program|rpcinterface):[^\]]+"
    r"|supervisord|supervisorctl|include|unix_http_server|inet_http_server)\]",
    re.M,
)
_CONTAINERPILOT2_KEYS = {
    *("services", "backends", "coprocesses", "tasks", "preStart", "onStart", "preStop", "postStop"),
    *("consul", "etcd", "telemetry", "logging", "stopTimeout"),
}
_KEY = re.compile(r"""["']?\b([a-zA-Z]+)["']?\s*:""")


def find_kind(text: str, name: str) -> str:
    """Return the kind of a configuration by its content.

    Raises:
        SpecError: It is a job spec already, or of no kind that is known.
    """
    if _SUPERVISORD_SECTION.search(text):
        return SUPERVISORD
    keys = _list_top_keys(text, name) if text.lstrip().startswith(("{", "/")) else set()
    if "jobs" in keys:
        raise build_spec_error(name, "cannot be converted: it is a job spec already; run `autopilot check` with it")
    if keys & _CONTAINERPILOT2_KEYS:
        return CONTAINERPILOT2
    forms = f"{KINDS[CONTAINERPILOT2]} (services, preStart, ...) or {KINDS[SUPERVISORD]} ([program:NAME])"
    raise build_spec_error(name, f"cannot be converted: it is no configuration of {forms}; name its kind with --from")


def _list_top_keys(text: str, name: str) -> set[str]:
    """Return the keys of a file in JSON; of a template that cannot be kept, everything that looks like a key."""
    try:
        value = parse(keep_actions(text).source.text).value
        return set(value) if isinstance(value, dict) else set()
    except SpecSyntaxError as error:
        if "{{" not in text:
            raise SpecError([_build_problem(text, name, error.offset, error.message)]) from None
    except (TemplateError, TemplateKeepingError):
        pass
    return set(_KEY.findall(text))


def convert_containerpilot2_text(
    text: str, name: str, env: Mapping[str, str], main_command: Sequence[str] = (), *, render: bool = False
) -> Conversion:
    """Convert the text of a configuration of ContainerPilot 2.

    Args:
        text: The configuration; a Go template.
        name: Its name in messages.
        env: The variables with which a template is rendered that cannot be kept.
        main_command: The command that ContainerPilot was started with; empty when it is not known.
        render: True to render the template in any case.

    Raises:
        SpecError: The text cannot be parsed.
    """
    try:
        if render:
            return _convert_rendered(text, name, env, main_command, None)
        try:
            source = keep_actions(text, *main_command)
            return _convert_source(source, name, main_command, list_variables(text), None)
        except TemplateKeepingError as error:
            reason = _build_problem(text, name, error.offset or 0, _describe_rendering(str(error), text, env))
        except SpecError as error:
            if "{{" not in text:
                raise
            reason = replace(error.problems[0], message=_describe_rendering(error.problems[0].message, text, env))
        return _convert_rendered(text, name, env, main_command, reason)
    except TemplateError as error:
        raise SpecError([_build_problem(text, name, error.offset, str(error))]) from None


def convert_supervisord_text(text: str, name: str, env: Mapping[str, str]) -> Conversion:
    """Convert the text of a supervisord.conf, with the files that its [include] names.

    Args:
        text: The configuration.
        name: Its path, to which the patterns of [include] are relative.
        env: The variables that patterns of [include] may have.

    Raises:
        SpecError: The text, or that of an included file, cannot be parsed.
    """
    directory = _get_directory(name)
    notes: list[Problem] = []
    sections = parse_sections(text, name, directory)

    def find_files(pattern: str, setting: Setting) -> list[str]:
        for variable, value in env.items():
            pattern = pattern.replace(f"%(ENV_{variable})s", value)
        path = os.path.join(directory, pattern.replace("%(here)s", directory))
        found = sorted(glob.glob(path))
        if not found:
            message = f"names {pattern}, but there is no such file here"
            notes.append(Problem(file=name, line=setting.line, column=1, path="[include] files", message=message))
        return found

    included: list[str] = []

    def read(path: str) -> str:
        included.append(read_source(path, "included file"))
        return included[-1]

    sections = read_included(sections, find_files, read, _get_directory)
    holes = Holes(text, *included, directory)
    spec, found, variables = convert_supervisord(sections, holes)
    warnings = notes + [_build_setting_problem(note, sections, name) for note in found.items]
    head = [_HEAD.format(kind=KINDS[SUPERVISORD]), _NOTHING_ESSENTIAL]
    head += [f"{problem.path} {problem.message}" for problem in notes]
    head += [f"{_format_setting(note.path)} {note.message}".strip() for note in found.items if note.in_head]
    warnings.sort(key=lambda problem: (problem.file != name, problem.file, problem.line))
    return Conversion(SpecWriter(holes).write(spec, head), tuple(warnings), SUPERVISORD, tuple(variables))


def _get_directory(path: str) -> str:
    return os.path.dirname(os.path.abspath(path)) if path != "<stdin>" else os.getcwd()


def _build_setting_problem(note: Note, sections: Sequence[ConfigSection], name: str) -> Problem:
    """Return the problem for a note whose path is a section and perhaps a key."""
    for section in sections:
        if note.path and section.name == note.path[0]:
            setting = section.settings.get(str(note.path[-1])) if len(note.path) > 1 else None
            line, file = (setting.line, setting.file) if setting is not None else (section.line, section.file)
            return Problem(file=file, line=line, column=1, path=_format_setting(note.path), message=note.message)
    return Problem(file=name, message=note.message)


def _format_setting(path: KeyPath) -> str:
    return f"[{path[0]}] {' '.join(map(str, path[1:]))}".strip() if path else ""


def _describe_rendering(reason: str, text: str, env: Mapping[str, str]) -> str:
    names = list_variables(text)
    variables = ", ".join(name if name in env else f"{name} (not set)" for name in names)
    values = f"the present values of {variables}" if variables else "its present values"
    return f"the template is rendered with {values}, because it cannot be kept: {reason}"


def _convert_rendered(
    text: str, name: str, env: Mapping[str, str], main_command: Sequence[str], reason: Problem | None
) -> Conversion:
    rendered = render_template(text, env)
    return _convert_source(KeptSource(rendered, Holes(rendered.text, *main_command)), name, main_command, [], reason)


def _convert_source(
    source: KeptSource, name: str, main_command: Sequence[str], variables: Sequence[str], reason: Problem | None
) -> Conversion:
    tree = _parse_source(source.source, name)
    spec, notes = convert_containerpilot2(tree.value, source.holes, main_command)
    for key in tree.list_duplicate_keys():
        notes.add_to_head(key, "is given twice in one object; the last one is taken")
    shown = _show_actions(tree.value, source.holes)
    warnings = [] if reason is None else [reason]
    head = [_HEAD.format(kind=KINDS[CONTAINERPILOT2])]
    head += [f"{problem.path}: {problem.message}" if problem.path else problem.message for problem in warnings]
    for note in notes.items:
        offset, _ = source.source.find_origin(tree.find_offset(note.path, at_key=True))
        path = format_path(note.path, shown)
        place = _build_problem(source.source.template, name, offset, note.message)
        warnings.append(replace(place, path=path) if path else Problem(file=name, message=note.message))
        if note.in_head:
            head.append(f"{path}: {note.message}" if path else note.message)
    writer = SpecWriter(source.holes)
    warnings.sort(key=lambda problem: (problem.line, problem.column))
    return Conversion(writer.write(spec, head, source.prologue), tuple(warnings), CONTAINERPILOT2, tuple(variables))


def _parse_source(source: RenderedTemplate, name: str) -> ParsedTree:
    try:
        return parse(source.text)
    except SpecSyntaxError as error:
        offset, _ = source.find_origin(error.offset)
        raise SpecError([_build_problem(source.template, name, offset, error.message)]) from None


def _show_actions(value: Any, holes: Holes) -> Any:
    """Return the tree with the text of each action in its place, for messages."""
    if isinstance(value, dict):
        return {key: _show_actions(item, holes) for key, item in value.items()}
    if isinstance(value, list):
        return [_show_actions(item, holes) for item in value]
    return holes.restore(value) if isinstance(value, str) else value


def _build_problem(text: str, name: str, offset: int, message: str) -> Problem:
    line, column = find_line_and_column(text, offset)
    return Problem(file=name, line=line, column=column, message=message)


def convert_file(
    path: str,
    env: Mapping[str, str],
    *,
    kind: str | None = None,
    main_command: Sequence[str] = (),
    render: bool = False,
) -> Conversion:
    """Convert the configuration at a path.

    Args:
        path: The file; "-" is standard input.
        env: The environment variables, for templates that cannot be kept.
        kind: The kind of the configuration; None to find it by the content.
        main_command: As for `convert_containerpilot2_text`.
        render: As for `convert_containerpilot2_text`.

    Raises:
        SpecError: The file cannot be read, or is of no kind that is known.
    """
    path = path.removeprefix("file://")  # as ContainerPilot 2 wants it
    name = "<stdin>" if path == "-" else path
    text = read_source("/dev/stdin" if path == "-" else path, "configuration")
    if not text.strip():
        raise build_spec_error(name, "cannot be converted: it is empty")
    if (kind or find_kind(text, name)) == SUPERVISORD:
        return convert_supervisord_text(text, name, env)
    return convert_containerpilot2_text(text, name, env, main_command, render=render)
