"""Command lines as Go's `flag` package reads them: `-k v`, `-k=v`, one or two dashes, `-k` alone for a switch.

Reading stops at `--` and at the first argument that is no flag. Imports nothing: a supervisor's first job waits for it.
"""

from __future__ import annotations

TRUE_VALUES = ("1", "t", "T", "true", "TRUE", "True")
FALSE_VALUES = ("0", "f", "F", "false", "FALSE", "False")


class FlagError(Exception):
    """One sentence, as Go says it."""


class HelpRequestedError(Exception):
    pass


def parse_flags(
    arguments: list[str], *, switches: tuple[str, ...], values: tuple[str, ...]
) -> tuple[dict[str, list[str]], list[str]]:
    """What each given flag was set to, in order ("true" or "false" for a switch), and the arguments that are no flags.

    Raises BadFlag, and HelpAsked for -h and -help unless they are declared.
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
