"""Format counts, repeats and the ends of commands as parts of sentences."""

from __future__ import annotations

from collections.abc import Sequence

MAX_OUTPUT_CHARS = 300  # of a command's output in a sentence


def format_count(number: int, noun: str, plural: str = "") -> str:
    """Return a number with its noun, such as `1 life` or `2 lives`; a plural that is not the noun with s is given."""
    return f"{number} {noun if number == 1 else plural or f'{noun}s'}"


def format_lives(number: int) -> str:
    """Return a number of lives in a row, such as `the last life` or `3 lives in a row`."""
    return "the last life" if number == 1 else f"{number} lives in a row"


def format_times(number: int) -> str:
    """Return `once`, or a number of times such as `3 times`."""
    return "once" if number == 1 else f"{number} times"


def format_repeats(number: int) -> str:
    """Return `once`, or a number of times in a row such as `3 times in a row`."""
    return "once" if number == 1 else f"{number} times in a row"


def describe_failed_command(command: str | Sequence[str], status: int, output: str) -> str:
    """Return a sentence about a command that failed, with the end of its output.

    Args:
        command: The command as it is named to people, or its words.
        status: Its exit status, not 0.
        output: Its output; it may be empty.
    """
    name = command if isinstance(command, str) else " ".join(command)
    shown = output.strip()[-MAX_OUTPUT_CHARS:].strip()
    return f"{name} ended with status {status}{f': {shown}' if shown else ' and printed nothing'}"
