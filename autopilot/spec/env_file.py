"""Read files of environment variables (`env_file`), with the rules of docker's --env-file."""

from __future__ import annotations

import os

MAX_ENV_FILE_BYTES = 1 << 20  # the kernel takes little more for a program's whole environment
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")


def read_env_file(path: str) -> dict[str, str]:
    """Read `NAME=VALUE` lines: no quotes, no expansion, `#` starts a comment line; a byte order mark is skipped.

    Values keep their spaces and their bytes. A name may have spaces around it, but not in it.

    Raises:
        ValueError: A line is no assignment; the message has file and line.
        OSError: The file cannot be read.
    """
    variables = {}
    for number, line in enumerate(_read_bytes(path).split(b"\n"), 1):
        text = os.fsdecode(line.removesuffix(b"\r"))
        if not text.strip() or text.lstrip().startswith("#"):
            continue
        name, sign, value = text.partition("=")
        if problem := _find_problem(name.strip(), sign, value):
            raise ValueError(f"{path}:{number}: {problem}")
        variables[name.strip()] = value
    return variables


def _find_problem(name: str, sign: str, value: str) -> str:
    if not sign or not name:
        return "cannot read an assignment, expected NAME=VALUE"
    if name.split(maxsplit=1)[0] == "export":
        return f'cannot use the name "{name}": this is not a shell script; remove "export"'
    if len(name.split()) > 1 or not name.isprintable():
        return f"cannot use the name {name!a}: it contains spaces or control characters; write NAME=VALUE"
    if "\0" in value:
        return f"the value of {name} cannot contain a NUL character; save the file as UTF-8 text"
    return ""


def _read_bytes(path: str) -> bytes:
    # O_NONBLOCK: a FIFO without a writer reads as empty instead of blocking every job
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    with open(descriptor, "rb") as file:
        data = file.read(MAX_ENV_FILE_BYTES + 1) or b""
    if len(data) > MAX_ENV_FILE_BYTES:
        raise ValueError(f"{path}: cannot be larger than {MAX_ENV_FILE_BYTES >> 20} MiB; this is no file of variables")
    if data.startswith(_UTF16_MARKS):
        raise ValueError(f"{path}:1: cannot be UTF-16; save the file as UTF-8")
    return data.removeprefix(_BYTE_ORDER_MARK)
