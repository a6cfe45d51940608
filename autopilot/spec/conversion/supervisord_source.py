"""Read supervisord.conf and the files that it includes, with the line of each key."""

from __future__ import annotations

import configparser
import re
from collections.abc import Callable
from dataclasses import dataclass, field

from autopilot.spec.load_result import Problem, SpecError

MAX_INCLUDED_FILES = 200

_HEADER = re.compile(r"\[(?P<name>.+)\]")
_INCLUDE = "include"


@dataclass(frozen=True, slots=True)
class Setting:
    """One key with its value as written, and its place."""

    value: str
    file: str
    line: int


@dataclass(slots=True)
class ConfigSection:
    """One section.

    Attributes:
        name: As in the brackets, such as "program:web".
        file: The file that has it.
        line: The line of its header.
        directory: The directory of the file, for %(here)s.
        settings: The keys, in their order.
    """

    name: str
    file: str
    line: int
    directory: str
    settings: dict[str, Setting] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        """The part before the colon."""
        return self.name.partition(":")[0]

    @property
    def label(self) -> str:
        """The part after the colon."""
        return self.name.partition(":")[2].strip()


def parse_sections(text: str, file: str, directory: str) -> list[ConfigSection]:
    """Return the sections of one file.

    Raises:
        SpecError: The text is no supervisord.conf, with the line.
    """
    parser = configparser.RawConfigParser(inline_comment_prefixes=(";", "#"), strict=False)
    try:
        parser.read_string(text, file)
    except configparser.MissingSectionHeaderError as error:
        raise _build_error(file, error.lineno, "stands before the first section; write [program:NAME] first") from None
    except configparser.ParsingError as error:
        raise SpecError(
            problem
            for line, _ in error.errors
            for problem in _build_error(file, line, "is neither a section, a comment nor KEY = VALUE").problems
        ) from None
    except configparser.Error as error:
        raise SpecError([Problem(file=file, message=f"cannot be read: {error.message.splitlines()[0]}")]) from None
    lines = _find_lines(text)
    sections = []
    for name in parser.sections():
        section = ConfigSection(name, file, lines.get((name, ""), 0), directory)
        for key, value in parser.items(name):
            section.settings[key] = Setting(value, file, lines.get((name, key), section.line))
        sections.append(section)
    return sections


def _build_error(file: str, line: int, message: str) -> SpecError:
    return SpecError([Problem(file=file, line=line, column=1, message=message)])


def _find_lines(text: str) -> dict[tuple[str, str], int]:
    """Return the line of each key, and of each section's header under the key ""; the last one of equal keys."""
    lines: dict[tuple[str, str], int] = {}
    section = ""
    for number, line in enumerate(text.splitlines(), 1):
        if header := _HEADER.match(line):
            section = header["name"]
            lines[section, ""] = number
        elif line[:1].strip(" \t;#"):
            key = line.replace(":", "=").partition("=")[0]
            lines[section, key.strip().lower()] = number
    return lines


def read_included(
    sections: list[ConfigSection],
    find_files: Callable[[str, Setting], list[str]],
    read: Callable[[str], str],
    get_directory: Callable[[str], str],
) -> list[ConfigSection]:
    """Return the sections with those of the files that [include] names; an included file includes no others.

    Args:
        sections: The sections of the main file.
        find_files: Returns the paths for one pattern of [include], sorted.
        read: Returns the text of a file; raises SpecError.
        get_directory: Returns the directory of a file.
    """
    included: list[ConfigSection] = []
    count = 0
    for section in sections:
        if section.name != _INCLUDE or "files" not in section.settings:
            continue
        setting = section.settings["files"]
        for pattern in setting.value.split():
            for path in find_files(pattern, setting):
                count += 1
                if count > MAX_INCLUDED_FILES:
                    raise _build_error(
                        setting.file, setting.line, f"cannot include more than {MAX_INCLUDED_FILES} files"
                    )
                included += parse_sections(read(path), path, get_directory(path))
    return [*sections, *(section for section in included if section.name != _INCLUDE)]
