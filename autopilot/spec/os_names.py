"""Parse and look up names of the operating system: signals, limits, users, variables, modes, programs."""

from __future__ import annotations

import difflib
import grp
import os
import pwd
import re
import resource
import shutil
import signal
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from autopilot.spec.quantities import InvalidValueError, format_value, parse_size

LIMIT_NAMES = {name.removeprefix("RLIMIT_").lower() for name in dir(resource) if name.startswith("RLIMIT_")}
_NON_TERMINATING_SIGNALS = {signal.SIGSTOP, signal.SIGCONT, signal.SIGCHLD}


def find_nearest(name: str, known: Iterable[str]) -> list[str]:
    """Return the known name that was probably meant, or no name."""
    return difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.6)


def format_suggestion(name: str, known: Iterable[str]) -> str:
    """Return `; did you mean "x"?` when a known name is near, else ""."""
    return "".join(f'; did you mean "{near}"?' for near in find_nearest(name, known))


def parse_stop_signal(value: Any) -> int:
    """Return the number of a signal that ends a process, given as "SIGTERM", "TERM", "SIGRTMIN+3" or a number."""
    if isinstance(value, str):
        number = find_signal_number(value)
    else:
        number = value if isinstance(value, int) and not isinstance(value, bool) else None
    if number not in signal.valid_signals():
        full_name = f"SIG{value.upper().removeprefix('SIG')}" if isinstance(value, str) else ""
        remedy = format_suggestion(full_name, signal.Signals.__members__) or '; write a name like "SIGTERM"'
        raise InvalidValueError(f"cannot be {format_value(value)}: no such signal{remedy}")
    if number in _NON_TERMINATING_SIGNALS:
        raise InvalidValueError(
            f'cannot be {format_value(value)}: it does not end a process; write "SIGTERM", "SIGINT" or "SIGQUIT"'
        )
    return int(number)


def find_signal_number(name: str) -> int | None:
    """Return the number of "SIGTERM", "term", "SIGRTMIN+3" or "15"; None when there is no such signal."""
    name = name.strip().upper()
    if re.fullmatch(r"[0-9]{1,3}", name):
        return _keep_valid_signal(int(name))
    realtime = re.fullmatch(r"(?:SIG)?RTMIN\+([0-9]{1,2})", name)
    if realtime:
        return _keep_valid_signal(signal.SIGRTMIN + int(realtime[1]))
    return signal.Signals.__members__.get(f"SIG{name.removeprefix('SIG')}")


def _keep_valid_signal(number: int) -> int | None:
    return number if number in signal.valid_signals() else None


def parse_umask(value: Any) -> int:
    """Return a mode from an octal string such as "022"; refuse a number, which would be decimal."""
    if isinstance(value, str) and re.fullmatch(r"(0o?)?[0-7]{1,3}", value):
        return int(value.replace("o", ""), 8)
    raise InvalidValueError(f'cannot be {format_value(value)}; write an octal string like "022"')


def parse_limits(value: Any, *, also: Collection[str] = ()) -> dict[str, int]:
    """Return resource limits by name in lower case, without RLIMIT_; -1 is unlimited. `also` names further limits."""
    if not isinstance(value, dict):
        raise InvalidValueError(f"cannot be {format_value(value)}; write an object like {{nofile: 65536}}")
    limits: dict[str, int] = {}
    for name, amount in value.items():
        key = name.lower().removeprefix("rlimit_")
        known = {*LIMIT_NAMES, *also}
        if key not in known:
            raise InvalidValueError(f'cannot use "{name}": no such limit{format_suggestion(key, known)}')
        try:
            limits[key] = -1 if amount in ("unlimited", "infinity") or amount == -1 else parse_size(amount)
        except ValueError as error:
            raise InvalidValueError(f'"{name}" {error}, or "unlimited"') from None
    return limits


def parse_environment(value: Any) -> dict[str, str]:
    """Return environment variables; numbers become text."""
    if not isinstance(value, dict):
        raise InvalidValueError(f"cannot be {format_value(value)}; write an object of names and strings")
    variables: dict[str, str] = {}
    for name, text in value.items():
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.]*", name):
            raise InvalidValueError(
                f"cannot use {format_value(name)} as the name of a variable; write letters, digits and _ only"
            )
        if isinstance(text, bool) or not isinstance(text, str | int | float):
            raise InvalidValueError(f'"{name}" cannot be {format_value(text)}; write it as a string in quotes')
        variables[name] = text if isinstance(text, str) else f"{text}"
    return variables


def is_unknown_user(name: str | None) -> bool:
    """Return True for a user name without an entry on this machine; numeric ids need none."""
    return name is not None and not name.isdigit() and not _has_entry(pwd.getpwnam, name)


def is_unknown_group(name: str | None) -> bool:
    """Return True for a group name without an entry on this machine; numeric ids need none."""
    return name is not None and not name.isdigit() and not _has_entry(grp.getgrnam, name)


def _has_entry(lookup: Any, name: str) -> bool:
    try:
        lookup(name)
    except KeyError:
        return False
    return True


def is_missing_program(argv: tuple[str, ...], env: Mapping[str, str], cwd: str | None) -> bool:
    """Return True when the first word of a command names no program on this machine."""
    return not list_programs(argv, env, cwd)


def describe_missing_program(program: str, cwd: str | None = None) -> str:
    """Return a sentence about a program that cannot be found, or not be executed."""
    place = os.path.join(cwd or "", program)
    if "/" not in program or not os.path.exists(place):
        return f'there is no program "{program}"'
    what = "a directory" if os.path.isdir(place) else "not executable"
    return f'"{program}" is {what}'


def list_programs(argv: tuple[str, ...], env: Mapping[str, str], cwd: str | None) -> list[str]:
    """Return the paths that the first word of a command may mean, in the order in which an exec tries them."""
    program = argv[0]
    if "/" in program:
        places = [os.path.join(cwd or "", program)]
    else:
        path = env.get("PATH", os.environ.get("PATH", os.defpath))
        places = [os.path.join(directory, program) for directory in path.split(":")]
    return [place for place in places if "/" in place and shutil.which(place) is not None]
