"""Names the operating system knows: signals, limits, users, environment variables, modes, programs."""

from __future__ import annotations

import difflib
import grp
import os
import pwd
import re
import resource
import shutil
import signal
from collections.abc import Iterable, Mapping
from typing import Any

from autopilot.spec.units import shown, size

LIMITS = {name.removeprefix("RLIMIT_").lower() for name in dir(resource) if name.startswith("RLIMIT_")}
_NEVER_A_STOP = {signal.SIGSTOP, signal.SIGCONT, signal.SIGCHLD}


def nearest(name: str, known: Iterable[str]) -> list[str]:
    """The known name that was probably meant, if any."""
    return difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.6)


def suggestion(name: str, known: Iterable[str]) -> str:
    """`; did you mean "x"?` when a known name is near, else nothing."""
    return "".join(f'; did you mean "{near}"?' for near in nearest(name, known))


def signal_number(value: Any) -> int:
    """The number of a signal given as "SIGTERM", "TERM", "SIGRTMIN+3" or a number."""
    if isinstance(value, str):
        number = named_signal(value)
    else:
        number = value if isinstance(value, int) and not isinstance(value, bool) else None
    if number not in signal.valid_signals():
        near = (
            suggestion(f"SIG{value.upper().removeprefix('SIG')}", signal.Signals.__members__)
            if isinstance(value, str)
            else ""
        )
        raise ValueError(
            f"cannot be {shown(value)}: no such signal{near or '; write a name like ' + chr(34) + 'SIGTERM' + chr(34)}"
        )
    if number in _NEVER_A_STOP:
        raise ValueError(f'cannot be {shown(value)}: it does not end a process; write "SIGTERM", "SIGINT" or "SIGQUIT"')
    return int(number)


def named_signal(name: str) -> int | None:
    """The number of "SIGTERM", "term", "SIGRTMIN+3" or "15"; None when there is no such signal."""
    name = name.strip().upper()
    if re.fullmatch(r"[0-9]{1,3}", name):
        return _valid(int(name))
    realtime = re.fullmatch(r"(?:SIG)?RTMIN\+([0-9]{1,2})", name)
    if realtime:
        return _valid(signal.SIGRTMIN + int(realtime[1]))
    return signal.Signals.__members__.get(f"SIG{name.removeprefix('SIG')}")


def _valid(number: int) -> int | None:
    return number if number in signal.valid_signals() else None


def umask(value: Any) -> int:
    """An octal string such as "022". A number is refused: 22 would be read as decimal."""
    if isinstance(value, str) and re.fullmatch(r"(0o?)?[0-7]{1,3}", value):
        return int(value.replace("o", ""), 8)
    raise ValueError(f'cannot be {shown(value)}; write an octal string like "022"')


def limits(value: Any) -> dict[str, int]:
    """Resource limits by name; "unlimited" is -1."""
    if not isinstance(value, dict):
        raise ValueError(f"cannot be {shown(value)}; write an object like {{nofile: 65536}}")
    found: dict[str, int] = {}
    for name, amount in value.items():
        key = name.lower().removeprefix("rlimit_")
        if key not in LIMITS:
            raise ValueError(f'cannot use "{name}": no such limit{suggestion(key, LIMITS)}')
        try:
            found[key] = -1 if amount in ("unlimited", "infinity") or amount == -1 else size(amount)
        except ValueError as error:
            raise ValueError(f'"{name}" {error}, or "unlimited"') from None
    return found


def environment(value: Any) -> dict[str, str]:
    """Environment variables; numbers become text."""
    if not isinstance(value, dict):
        raise ValueError(f"cannot be {shown(value)}; write an object of names and strings")
    found: dict[str, str] = {}
    for name, text in value.items():
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.]*", name):
            raise ValueError(
                f"cannot use {shown(name)} as the name of a variable; letters, digits and _ only, not a digit first"
            )
        if isinstance(text, bool) or not isinstance(text, str | int | float):
            raise ValueError(f'"{name}" cannot be {shown(text)}; write it as a string in quotes')
        found[name] = text if isinstance(text, str) else f"{text}"
    return found


def unknown_user(name: str | None) -> bool:
    """Whether a user name cannot be found here. Numeric ids need no entry."""
    return name is not None and not name.isdigit() and not _found(pwd.getpwnam, name)


def unknown_group(name: str | None) -> bool:
    return name is not None and not name.isdigit() and not _found(grp.getgrnam, name)


def _found(look_up: Any, name: str) -> bool:
    try:
        look_up(name)
    except KeyError:
        return False
    return True


def missing_program(argv: tuple[str, ...], env: Mapping[str, str], cwd: str | None) -> bool:
    """Whether the first word names nothing that can be run here."""
    program = argv[0]
    if "/" in program:
        return shutil.which(os.path.join(cwd or "", program)) is None
    return shutil.which(program, path=env.get("PATH", os.environ.get("PATH"))) is None
