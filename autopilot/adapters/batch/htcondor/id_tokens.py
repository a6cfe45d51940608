"""Examine and install IDTOKENS, without the pool's key.

See the HTCondor manual, "IDTOKENS authentication". A token is a JWT: three base64url parts; the middle one has the
issuer (the pool's TRUST_DOMAIN), the times of validity and the rights. Only the collector can check the signature.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from autopilot.errors import AutopilotError
from autopilot.safe_files import read_file
from autopilot.timestamps import format_timestamp

MAX_TOKEN_BYTES = 64 * 1024  # of a token file
MAX_TIME_S = 253402300799  # 9999-12-31T23:59:59Z
REQUIRED_RIGHT = "ADVERTISE_STARTD"


@dataclass(frozen=True, slots=True)
class Token:
    """The claims of a token."""

    issuer: str
    subject: str
    expires: float | None  # epoch seconds
    not_before: float | None
    rights: frozenset[str]  # empty: all rights of the identity


class InvalidTokenError(AutopilotError, ValueError):
    """A text is no token; the message continues "the token PATH ..."."""


def decode(text: str) -> Token:
    """Return the claims, without judging them. Raises InvalidTokenError when the text is no JWT."""
    parts = text.strip().split(".")
    if len(parts) != 3 or not all(parts):
        raise InvalidTokenError("is not a token (three parts joined by dots)")
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (binascii.Error, ValueError, RecursionError):
        raise InvalidTokenError("is damaged (its claims cannot be decoded)") from None
    if not isinstance(claims, dict):
        raise InvalidTokenError("is damaged (its claims are no object)")
    scope = claims.get("scope")
    words = scope.split() if isinstance(scope, str) else []
    rights = frozenset(word.removeprefix("condor:/") for word in words if word.startswith("condor:/"))
    return Token(
        str(claims.get("iss", "")),
        str(claims.get("sub", "")),
        _parse_time(claims.get("exp")),
        _parse_time(claims.get("nbf")),
        rights,
    )


def _parse_time(value: object) -> float | None:
    """Return a time that can be shown, or None: a time after the year 9999 is as good as none."""
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not value <= MAX_TIME_S:
        return None
    return float(max(0, value))


def find_problem(token: Token, now: float, right: str = REQUIRED_RIGHT) -> str | None:
    """Return the reason why a node cannot join with the token, or None.

    Args:
        token: The token.
        now: Seconds since the epoch.
        right: The right that joining needs.
    """
    if token.expires is not None and token.expires <= now:
        return f"expired {format_duration(now - token.expires)} ago, at {format_timestamp(token.expires)}"
    if token.not_before is not None and token.not_before > now:
        return f"is valid only in {format_duration(token.not_before - now)}; is this host's clock right?"
    if not allows_joining(token, right):
        return f"allows only {', '.join(sorted(token.rights))}, not {right}"
    return None


def allows_joining(token: Token, right: str = REQUIRED_RIGHT) -> bool:
    """Return True when the token's rights are enough for a node that needs `right`."""
    return not token.rights or bool(token.rights & {right, "DAEMON", "ADMINISTRATOR"})


def format_duration(seconds: float) -> str:
    """Return a duration in its largest unit: `2 d`, `3 h`, `10 min`, `5 s`."""
    for size, word in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {word}"
    return f"{seconds:.0f} s"


def describe_validity(directory: Path, now: float, right: str = REQUIRED_RIGHT) -> str:
    """Return one clause about the tokens of a directory: valid until when, or the problems. `now` in epoch seconds."""
    usable, problems = examine(directory, now, right)
    if not usable:
        return "; ".join(problems) or f"there is no token in {directory}"
    expires = compute_expiry(usable)
    return "our token never expires" if expires is None else f"our token is valid until {format_timestamp(expires)}"


def compute_expiry(tokens: Iterable[Token]) -> float | None:
    """Return the time at which the last of the tokens expires, in epoch seconds.

    None stands for no tokens, and for a token that never expires.
    """
    ends = [token.expires for token in tokens]
    return None if None in ends else max((end for end in ends if end is not None), default=None)


def list_token_files(directory: Path) -> Iterator[Path]:
    """Yield a directory's token files as HTCondor does: plain files or links to them, none hidden, sorted by name.

    Raises:
        OSError: The directory cannot be listed.
    """
    for name in sorted(os.listdir(directory)):
        if not name.startswith(".") and (directory / name).is_file():
            yield directory / name


def read_tokens(path: Path) -> list[str]:
    """Return the tokens of a file, a line each; `#` begins a comment. Raises OSError when it cannot be read."""
    lines = read_file(path, MAX_TOKEN_BYTES, follow_link=True).decode("ascii", errors="replace").splitlines()
    return [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]


def examine(directory: Path, now: float, right: str = REQUIRED_RIGHT) -> tuple[list[Token], list[str]]:
    """Return the tokens of a directory that give `right` now, and one line for each problem of the others."""
    found, problems = decode_tokens(directory)
    usable: list[Token] = []
    for path, token in found:
        if wrong := find_problem(token, now, right):
            problems.append(f"the token {path} {wrong}")
        else:
            usable.append(token)
    return usable, sorted(problems)


def decode_tokens(place: Path) -> tuple[list[tuple[Path, Token]], list[str]]:
    """Return the tokens of a directory, or of one file, with their files; and one line for each that cannot be read."""
    found: list[tuple[Path, Token]] = []
    problems: list[str] = []
    try:
        paths = [place] if place.is_file() else list(list_token_files(place))
    except OSError as error:
        return [], [f"cannot read {place}: {error.strerror}"]
    for path in paths:
        try:
            texts = read_tokens(path)
        except OSError as error:
            problems.append(f"the token {path} cannot be read: {error.strerror}")
            continue
        if not texts:
            problems.append(f"the token {path} is empty")
        for text in texts:
            try:
                found.append((path, decode(text)))
            except InvalidTokenError as bad:
                problems.append(f"the token {path} {bad}")
    return found, problems


def install(source: Path, directory: Path) -> None:
    """Copy a token file, or each file of a directory: owned by us, mode 0600, never half written.

    Args:
        source: A file or a directory.
        directory: The token directory of condor_master; made when missing.

    Raises:
        OSError: A file cannot be read or written, or the source directory has none.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    sources = list(list_token_files(source)) if source.is_dir() else [source]
    if not sources:
        raise FileNotFoundError(2, "holds no token file", str(source))
    for path in sources:
        content = read_file(path, MAX_TOKEN_BYTES, follow_link=True)
        draft = directory / f".{path.name}.new"  # hidden: HTCondor does not read it
        draft.unlink(missing_ok=True)
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with open(descriptor, "wb") as file:
            file.write(content)
        draft.rename(directory / path.name)


def is_readable_by_others(directory: Path, path: Path) -> bool:
    """Return True when a job can read the token: it runs as another user of this host."""
    return bool(stat.S_IMODE(path.stat().st_mode) & 0o044) and bool(stat.S_IMODE(directory.stat().st_mode) & 0o011)
