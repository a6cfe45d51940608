"""Find out if the kernel can execute a program file: its interpreter is there, and its kind is known."""

from __future__ import annotations

import json
import os
import resource
import struct
from collections.abc import Mapping, Sequence

from autopilot.spec.os_names import describe_missing_program, list_programs

MAX_HEAD_BYTES = 4096  # the kernel reads 256 for a script; an ELF file has its program headers here
MAX_SCRIPT_LINE_BYTES = 256
PAGES_PER_STRING = 32  # of memory, for one word or variable
MAX_TOTAL_BYTES = 6 << 20  # three quarters of the kernel's default stack limit
BYTES_PER_POINTER = 8
_ELF_MAGIC = b"\x7fELF"
_PT_INTERP = 3
_PROGRAM_HEADERS = {  # by the class of the ELF file: offset and size of e_phoff, and of e_phentsize; see elf(5)
    1: (28, "I", 42),
    2: (32, "Q", 54),
}
_SEGMENT_OFFSETS = {1: (4, "I", 16), 2: (8, "Q", 32)}  # of p_offset and p_filesz in a program header


def find_program_problem(argv: tuple[str, ...]) -> str:
    """Return a sentence when a command of ours, not of a job, names no program that can be executed, else ""."""
    programs = list_programs(argv, {}, None)
    if not programs:
        return describe_missing_program(argv[0])
    problems = [find_interpreter_problem(program) for program in programs]
    return problems[0] if all(problems) else ""


def find_size_problem(argv: Sequence[str], variables: Mapping[str, str], stack: int | None = None) -> str:
    """Return a sentence when the kernel takes no command of this length, else "" (execve(2), "Limits").

    Args:
        argv: The words of the command.
        variables: Its whole environment.
        stack: The limit of its stack in bytes, of which the kernel gives a quarter; None: ours; -1: none.
    """
    sizes = {"a word of the command": max(len(os.fsencode(word)) + 1 for word in argv)}
    sizes |= {f"variable {name}": len(os.fsencode(f"{name}={value}")) + 1 for name, value in variables.items()}
    longest = max(sizes, key=lambda thing: sizes[thing])
    most = PAGES_PER_STRING * os.sysconf("SC_PAGE_SIZE")
    if sizes[longest] > most:
        return f"{longest} has {sizes[longest] - 1} bytes, and the kernel takes {most - 1}; write it to a file"
    words = sum(len(os.fsencode(word)) + 1 for word in argv) + sum(sizes.values()) - sizes["a word of the command"]
    total = words + BYTES_PER_POINTER * (len(argv) + len(variables))
    stack = resource.getrlimit(resource.RLIMIT_STACK)[0] if stack is None else stack
    room = MAX_TOTAL_BYTES if stack == resource.RLIM_INFINITY else min(MAX_TOTAL_BYTES, stack // 4)
    if total > max(room, most):
        return (
            f"its words and variables have {total} bytes, and the kernel takes {max(room, most)}; write them to a file"
        )
    return ""


def find_interpreter_problem(program: str) -> str:
    """Return a sentence when the kernel would not execute a program for what is in it, else ""."""
    try:
        descriptor = os.open(program, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            head = os.read(descriptor, MAX_HEAD_BYTES)
        finally:
            os.close(descriptor)
    except OSError:  # it may be executable without being readable
        return ""
    problem = ""
    if not head:
        problem = "is empty"
    elif head.startswith(_ELF_MAGIC):
        loader = _find_elf_interpreter(head)
        if loader and not os.path.exists(loader):
            problem = f'needs the loader "{loader}", which is not there: it is for another system'
    elif head.startswith(b"#!"):
        line = head[2:MAX_SCRIPT_LINE_BYTES].split(b"\n")[0].replace(b"\t", b" ")
        interpreter = os.fsdecode(next(filter(None, line.split(b" ")), b""))  # the kernel's only separators
        if interpreter.endswith("\r"):
            problem = f"is a script for {json.dumps(interpreter)}: its lines end as on Windows"
        elif not interpreter or not os.path.exists(interpreter):
            problem = f'is a script for "{interpreter}", which is not there'
    elif b"\0" not in head:  # all else that the kernel executes is binary
        problem = 'is a text without an interpreter; begin it with a line like "#!/bin/sh"'
    return f'"{program}" {problem}' if problem else ""


def _find_elf_interpreter(head: bytes) -> str:
    """Return the path of the loader that an ELF file names; "" for a static one, and for one that is not understood."""
    order = {1: "<", 2: ">"}.get(head[5] if len(head) > 5 else 0)
    if order is None or head[4] not in _PROGRAM_HEADERS:
        return ""
    try:
        offset_at, word, sizes_at = _PROGRAM_HEADERS[head[4]]
        (table,) = struct.unpack_from(order + word, head, offset_at)
        size, count = struct.unpack_from(f"{order}HH", head, sizes_at)
        for number in range(count):
            begin = table + number * size
            (kind,) = struct.unpack_from(f"{order}I", head, begin)
            if kind == _PT_INTERP:
                where_at, word, length_at = _SEGMENT_OFFSETS[head[4]]
                (where,) = struct.unpack_from(order + word, head, begin + where_at)
                (length,) = struct.unpack_from(order + word, head, begin + length_at)
                found = head[where : where + length]
                return os.fsdecode(found.rstrip(b"\0")) if len(found) == length else ""
    except struct.error:  # beyond what was read
        pass
    return ""
