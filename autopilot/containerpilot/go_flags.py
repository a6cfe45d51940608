"""Parse command lines as Go's `flag` package does: `-k v`, `-k=v`, one or two dashes, `-k` alone for a switch.

Parsing stops at `--` and at the first argument that is no flag. The module loads nothing heavy: the first job of a
supervisor waits for it.
"""

from __future__ import annotations

from autopilot.errors import AutopilotError

TRUE_VALUES = ("1", "t", "T", "true", "TRUE", "True")
FALSE_VALUES = ("0", "f", "F", "false", "FALSE", "False")


class FlagError(AutopilotError):
    """Command line that cannot be parsed; the sentence is Go's."""


class HelpRequestedError(AutopilotError):
    """Command line that asks for the help."""


def parse_flags(
    arguments: list[str], *, switches: tuple[str, ...], values: tuple[str, ...]
) -> tuple[dict[str, list[str]], list[str]]:
    """Parse a command line.

    Args:
        arguments: Arguments without the program's name.
        switches: Names of flags without a value.
        values: Names of flags with a value.

    Returns:
        Values of each given flag in their order ("true" or "false" for a switch), and the arguments after the flags.

    Raises:
        FlagError: A flag is unknown, or its value is missing or wrong.
        HelpRequestedError: -h or -help is given, and not declared.
    """
    given: dict[str, list[str]] = {}
    rest = list(arguments)
    while rest and len(rest[0]) > 1 and rest[0].startswith("-"):
        argument = rest.pop(0)
        if argument == "--":
            break
        name, equals, value = argument[2 if argument.startswith("--") else 1 :].partition("=")
        if not name or name.startswith("-"):
            raise FlagError(f"bad flag syntax: {argument}")
        if name in switches:
            given.setdefault(name, []).append(_parse_boolean(name, value if equals else "true"))
        elif name in values:
            if not equals and not rest:
                raise FlagError(f"flag needs an argument: -{name}")
            given.setdefault(name, []).append(value if equals else rest.pop(0))
        elif name in ("h", "help"):
            raise HelpRequestedError
        else:
            raise FlagError(f"flag provided but not defined: -{name}")
    return given, rest


def _parse_boolean(name: str, value: str) -> str:
    if value in TRUE_VALUES or value in FALSE_VALUES:
        return "true" if value in TRUE_VALUES else "false"
    raise FlagError(f'invalid boolean value "{value}" for -{name}: write true or false')
