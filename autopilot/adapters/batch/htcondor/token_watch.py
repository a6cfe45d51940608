"""Compare the life of the node's tokens with the life of the container, at every observation.

A token that is renewed in mid-life, or a reload that changes the lifetime, changes the verdict. The files are read
again only after one of them has changed. Tokens that the job spec names are copied again, because HTCondor reads the
copies. Nothing here ends a life: a token that cannot be judged counts as unknown.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from autopilot.adapters.batch.conditions import Conditions
from autopilot.adapters.batch.htcondor import id_tokens, preflight
from autopilot.timestamps import format_timestamp

EXPIRY_CONDITION = "token-expires"
COPY_CONDITION = "token-not-copied"

Fingerprint = tuple[tuple[str, int, int, int], ...]


@dataclass(frozen=True, slots=True)
class ExpiryProblem:
    """Tokens that end too early: `expires` in seconds since the epoch, and whether that has passed."""

    expires: float
    has_passed: bool


def find_expiry_problem(
    tokens: Iterable[id_tokens.Token], now: float, longest_rest: float | None, right: str = id_tokens.REQUIRED_RIGHT
) -> ExpiryProblem | None:
    """Return the problem when the last of the tokens expires before the life must be over, or None.

    Args:
        tokens: All tokens of the node.
        now: Seconds since the epoch.
        longest_rest: Seconds until the life must be over, its drain included; None without a limit. Then only a token
            that has expired is a problem.
        right: The right that the node needs; tokens without it do not count.
    """
    fit = [token for token in tokens if id_tokens.allows_joining(token, right)]
    expires = id_tokens.compute_expiry(fit)
    if expires is None:
        return None
    if expires <= now:
        return ExpiryProblem(expires, has_passed=True)
    if longest_rest is None or now + longest_rest <= expires:
        return None
    return ExpiryProblem(expires, has_passed=False)


def describe_expiry_problem(problem: ExpiryProblem, directory: Path, now: float, longest_rest: float | None) -> str:
    """Return the problem and its remedy in one sentence; the arguments are those of `find_expiry_problem`."""
    at = format_timestamp(problem.expires)
    if problem.has_passed:
        since = id_tokens.format_duration(now - problem.expires)
        return f"the token in {directory} expired {since} ago, at {at}: the collector refuses it; provide a new token"
    return (
        f"the token in {directory} expires in {id_tokens.format_duration(problem.expires - now)}, at {at}, "
        f"and this life may last {id_tokens.format_duration(longest_rest or 0.0)} more: "
        "after that the collector refuses this node; provide a token that lasts longer, or shorten lifetime.max"
    )


def read_fingerprint(path: Path) -> Fingerprint:
    """Return a value that changes with the files of a token directory, or with one token file; () without any."""
    try:
        files = list(id_tokens.list_token_files(path)) if path.is_dir() else [path]
        return tuple((file.name, *_read_identity(file)) for file in files)
    except OSError:
        return ()


def _read_identity(file: Path) -> tuple[int, int, int]:
    status = os.stat(file)
    return status.st_ino, status.st_mtime_ns, status.st_size


class TokenWatch:
    """The tokens of one node, and the conditions that they cause."""

    def __init__(
        self,
        conditions: Conditions,
        get_longest_rest: Callable[[], float | None],
        read_clock: Callable[[], float] = time.time,
        *,
        right: str = id_tokens.REQUIRED_RIGHT,
    ) -> None:
        """Wire the watch; it begins with `begin`.

        Args:
            conditions: Take the problems.
            get_longest_rest: Returns the seconds until the life must be over; None without a limit.
            read_clock: Returns the seconds since the epoch.
            right: The right that the node needs.
        """
        self._conditions, self._get_longest_rest, self._read_clock = conditions, get_longest_rest, read_clock
        self._right = right
        self._directory: Path | None = None
        self._source: Path | None = None
        self._directory_print: Fingerprint | None = None  # None: not read yet
        self._source_print: Fingerprint = ()
        self._tokens: tuple[id_tokens.Token, ...] = ()
        self._problem: ExpiryProblem | None = None

    def begin(self, directory: Path, source: str | None) -> None:
        """Watch a token directory from now on, after its tokens were copied from `source`, if any."""
        self._directory, self._directory_print = directory, None
        self._source = None if source is None else Path(source)
        self._source_print = () if self._source is None else read_fingerprint(self._source)

    def update(self, now: float) -> None:
        """Judge the tokens; read the files only after a change. `now` is the loop's time."""
        if self._directory is None:
            return
        self._copy_changed_source(self._directory, now)
        fingerprint = read_fingerprint(self._directory)
        if fingerprint != self._directory_print:
            self._directory_print = fingerprint
            self._tokens = tuple(token for _, token in id_tokens.decode_tokens(self._directory)[0])
        wall, longest_rest = self._read_clock(), self._get_longest_rest()
        before, problem = self._problem, find_expiry_problem(self._tokens, wall, longest_rest, self._right)
        self._problem = problem
        detail = None
        if problem is not None:
            detail = describe_expiry_problem(problem, self._directory, wall, longest_rest)
        self._conditions.update(EXPIRY_CONDITION, detail, now, is_new=before is not None and problem != before)

    def _copy_changed_source(self, directory: Path, now: float) -> None:
        """Copy the tokens of the job spec again after they were replaced; an empty source keeps the copies."""
        if self._source is None:
            return
        fingerprint = read_fingerprint(self._source)
        if fingerprint == self._source_print or not fingerprint:
            self._conditions.update(COPY_CONDITION, None, now)
            return
        if id_tokens.decode_tokens(self._source)[0]:
            problems = preflight.copy_tokens(str(self._source), directory)
        else:  # it may be half written
            problems = [f"{self._source} holds no token; the copies in {directory} stay in use"]
        self._conditions.update(COPY_CONDITION, "; ".join(problems) or None, now)
        if not problems:
            self._source_print = fingerprint
