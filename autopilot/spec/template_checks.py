"""Find out if the source of a template can be rendered, as far as that is known without its values."""

from __future__ import annotations

import os
from stat import S_ISREG

from autopilot.safe_files import read_file
from autopilot.spec.file_problems import find_read_problem

MAX_SOURCE_BYTES = 16 << 20  # as the supervisor reads


def find_template_problem(path: str) -> str:
    """Return a sentence when a source cannot be read or is no template, else ""; without Jinja2 only the former."""
    if problem := find_read_problem(path):
        return problem
    try:
        if not S_ISREG(os.stat(path).st_mode):  # before it is opened, which may have an effect
            return f'"{path}" is no regular file'
        data = read_file(path, MAX_SOURCE_BYTES + 1, follow_link=True)
        text = data.decode()
    except UnicodeDecodeError as error:
        return f'"{path}" is no UTF-8 text: byte 0x{data[error.start]:02x} at offset {error.start}'
    except OSError as error:
        return f'"{path}": {error.strerror}'
    if len(data) > MAX_SOURCE_BYTES:
        return f'"{path}" is larger than {MAX_SOURCE_BYTES >> 20} MiB'
    return _find_syntax_problem(path, text)


def _find_syntax_problem(path: str, text: str) -> str:
    try:
        from jinja2 import Environment, TemplateSyntaxError
    except ImportError:
        return ""
    try:
        Environment(autoescape=False).parse(text)  # nothing is rendered
    except TemplateSyntaxError as error:
        return f'"{path}", line {error.lineno}: {error.message}'
    except RecursionError:
        return f'"{path}" is nested too deeply'
    return ""
