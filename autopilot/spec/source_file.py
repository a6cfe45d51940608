"""Read a job spec as text, and refuse everything that is not text with one clear message."""

from __future__ import annotations

import os

from autopilot.spec.load_result import Problem, SpecError

_JOB_SPEC = "job spec"
MAX_SPEC_BYTES = 1 << 20  # a job spec is some kilobytes; a bigger file is the wrong file


def read_source(path: str | os.PathLike[str], noun: str = _JOB_SPEC) -> str:
    """Read a file as UTF-8 text, without its byte order mark.

    Args:
        path: The file.
        noun: The word for the file in messages.

    Raises:
        SpecError: The file cannot be read, is larger than MAX_SPEC_BYTES, or is no UTF-8 text.
    """
    name = os.fspath(path)
    try:
        data = _read_bytes(name)
    except OSError as error:
        raise build_spec_error(
            name, f"cannot read the {noun}: {(error.strerror or str(error)).lower()}{_find_remedy(error, noun)}"
        ) from None
    except ValueError:  # a NUL in the path
        raise build_spec_error(name, f"cannot read the {noun}: its path contains a NUL character") from None
    return decode_source(data, name)


def decode_source(data: bytes, name: str) -> str:
    """Decode the bytes of a file.

    Args:
        data: The bytes of the file.
        name: The file's name in messages.

    Raises:
        SpecError: There are more than MAX_SPEC_BYTES, or they are no UTF-8 text.
    """
    if len(data) > MAX_SPEC_BYTES:
        raise _build_too_large_error(name)
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise build_spec_error(name, "cannot be UTF-16; save the file as UTF-8")
    if b"\x00" in data:
        raise build_spec_error(
            name,
            f"cannot be a binary file: it contains a NUL byte at offset {data.index(0)}; write JSON or JSON5 text",
        )
    data = data.removeprefix(b"\xef\xbb\xbf")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line, column = find_line_and_column(data[: error.start].decode("utf-8"), error.start)
        message = (
            f"cannot be read as UTF-8: byte 0x{data[error.start]:02x} at offset {error.start}; save the file as UTF-8"
        )
        raise SpecError([Problem(file=name, line=line, column=column, message=message)]) from None


def check_source(text: str, name: str) -> str:
    """Return the text; raise SpecError when it is blank or longer than MAX_SPEC_BYTES."""
    if len(text) > MAX_SPEC_BYTES:
        raise _build_too_large_error(name)
    if not text.strip():
        raise build_spec_error(
            name, 'cannot be empty; the smallest job spec is {jobs: [{name: "main", exec: "COMMAND"}]}'
        )
    return text


def find_line_and_column(text: str, offset: int) -> tuple[int, int]:
    """Return line and column of an offset, both counted from 1."""
    before = text[:offset]
    return before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1


def build_spec_error(name: str, message: str) -> SpecError:
    """Return the error whose only problem concerns the whole file."""
    return SpecError([Problem(file=name, message=message)])


def _build_too_large_error(name: str) -> SpecError:
    return build_spec_error(name, f"cannot be larger than {MAX_SPEC_BYTES >> 20} MiB; this is probably not a job spec")


def _read_bytes(name: str) -> bytes:
    # O_NONBLOCK: a FIFO without a writer reads as empty instead of blocking the start.
    descriptor = os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    with open(descriptor, "rb") as file:
        os.set_blocking(descriptor, True)
        return file.read(MAX_SPEC_BYTES + 1)


def _find_remedy(error: OSError, noun: str) -> str:
    match error:
        case FileNotFoundError() if noun == _JOB_SPEC:
            return "; name it as the argument or in $AUTOPILOT_CONFIG"
        case PermissionError():
            return f"; let uid {os.geteuid()} read it"
        case IsADirectoryError():
            return "; name the file in it"
    return ""
