"""Check that a token, a proxy or a certificate is valid for long enough.

A file may hold X.509 certificates in PEM, as a grid proxy does (the one that ends first counts), or a JSON Web Token,
such as an IDTOKEN of HTCondor or a token of WLCG. Signatures are not checked: only the times are read.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, ClassVar

from autopilot.adapters.checks.check_context import CheckContext, CheckResult
from autopilot.adapters.checks.child_check import ChildProbe, list_child_settings, run_in_child
from autopilot.amounts import format_seconds
from autopilot.errors import AutopilotError
from autopilot.safe_files import read_file
from autopilot.spec.plan import Command

BATCH_SYSTEM = None
DEFAULT_LEFT_S = 600.0
MAX_FILE_BYTES = 1 << 20
_CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----([A-Za-z0-9+/=\s]+)-----END CERTIFICATE-----")
_TIME = re.compile(r"([0-9]{4})([0-9]{2})([0-9]{2})([0-9]{2})([0-9]{2})([0-9]{2})Z")
_SEQUENCE, _VERSION, _UTC_TIME, _GENERALIZED_TIME = 0x30, 0xA0, 0x17, 0x18  # tags of DER


class UnreadableTimesError(AutopilotError, ValueError):
    """The times of a credential cannot be read; the message continues "PATH ..."."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidityProbe(ChildProbe):
    """Settings of a check of a credential's validity."""

    kind: ClassVar[str] = "valid"

    path: str
    left: float = DEFAULT_LEFT_S  # s


@dataclass(frozen=True, slots=True)
class Validity:
    """Times of a credential in seconds since the epoch; None where it has no such limit."""

    begins: float | None
    ends: float | None


PROBE_TYPE = ValidityProbe


def build_field() -> tuple[Any, Any]:
    """Return the annotation and the pydantic field of the key `valid`."""
    from typing import Annotated

    from pydantic import BeforeValidator, Field

    from autopilot.spec import fields as f
    from autopilot.spec.model_base import Shorthand, StrictModel

    class Credential(StrictModel):
        """A token, proxy or certificate that must be valid."""

        path: f.AbsolutePath = Field(description="the file")
        left: f.Duration = Field(default=DEFAULT_LEFT_S, description="the least time until it expires")

    def expand(value: Any) -> Any:
        return {"path": value} if isinstance(value, str) else value

    annotation = Annotated[Credential | None, BeforeValidator(expand), Shorthand("string")]
    description = "a file with a token, proxy or certificate that must be valid, or an object with path, left"
    return annotation, Field(default=None, description=description)


def compile_probe(value: Any, *, build_command: Callable[[tuple[str, ...]], Command], raw: bool) -> ValidityProbe:
    """Return the settings for the plan."""
    return ValidityProbe(path=value.path, left=value.left, **list_child_settings(build_command))


async def run(probe: ValidityProbe, context: CheckContext) -> CheckResult:
    """Read the file once, in a child process."""
    return await run_in_child(probe, context, f"cannot read {probe.path}")


def examine(probe: ValidityProbe) -> CheckResult:
    """Compare the times of the credential with the clock; the caller may hang."""
    try:
        validity = read_validity(read_file(probe.path, MAX_FILE_BYTES, follow_link=True))
    except OSError as error:
        return False, f"cannot read {probe.path}: {error.strerror}"
    except UnreadableTimesError as error:
        return False, f"{probe.path} {error}"
    return judge_validity(probe, validity, time.time())


def judge_validity(probe: ValidityProbe, validity: Validity, now: float) -> CheckResult:
    """Return True and a sentence for a credential that is valid for long enough at `now`, in epoch seconds."""
    if validity.begins is not None and validity.begins > now:
        return False, f"{probe.path} is not valid yet: only in {format_seconds(validity.begins - now)}; see the clock"
    if validity.ends is None:
        return True, f"{probe.path} does not expire"
    left = round(validity.ends - now)
    if left <= 0:
        return False, f"{probe.path} has expired {format_seconds(-left)} ago"
    if left < probe.left:
        needed = format_seconds(probe.left)
        return False, f"{probe.path} is valid for {format_seconds(left)} only, and {needed} are needed"
    return True, f"{probe.path} is valid for {format_seconds(left)}"


def read_validity(data: bytes) -> Validity:
    """Return the times of certificates or of a token; raise UnreadableTimesError when there is none."""
    certificates = _CERTIFICATE.findall(data)
    if certificates:
        times = [_read_certificate_times(text) for text in certificates]
        return Validity(max(begins for begins, _ in times), min(ends for _, ends in times))
    return _read_token_times(data)


def _read_token_times(data: bytes) -> Validity:
    parts = data.strip().split(b".")
    if len(parts) != 3 or not all(parts):
        raise UnreadableTimesError("has no certificate in PEM and is no token")
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + b"=" * (-len(parts[1]) % 4)))
    except (binascii.Error, ValueError, RecursionError):
        raise UnreadableTimesError("is damaged: the claims of the token cannot be decoded") from None
    if not isinstance(claims, dict):
        raise UnreadableTimesError("is damaged: the claims of the token are no object")
    return Validity(_get_time(claims, "nbf"), _get_time(claims, "exp"))


def _get_time(claims: dict[str, Any], name: str) -> float | None:
    value = claims.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e12:
        raise UnreadableTimesError(f"is damaged: the claim {name} of the token is no time")
    return float(value)


# --- X.509: only the way to the two times ---


def _read_certificate_times(text: bytes) -> tuple[float, float]:
    """Return notBefore and notAfter of a certificate, in seconds since the epoch."""
    try:
        data = base64.b64decode(text)
        _, start, _ = _read_element(data, 0, _SEQUENCE)  # Certificate
        _, at, _ = _read_element(data, start, _SEQUENCE)  # TBSCertificate
        tag, _, end = _read_element(data, at)
        if tag == _VERSION:
            _, _, end = _read_element(data, end)  # serialNumber
        for _ in range(2):  # signature, issuer
            _, _, end = _read_element(data, end, _SEQUENCE)
        _, at, _ = _read_element(data, end, _SEQUENCE)  # validity
        begins, at = _read_time(data, at)
        ends, _ = _read_time(data, at)
    except (IndexError, ValueError, binascii.Error):
        raise UnreadableTimesError("is damaged: a certificate in it cannot be decoded") from None
    return begins, ends


def _read_element(data: bytes, at: int, wanted_tag: int | None = None) -> tuple[int, int, int]:
    """Return tag, start and end of the content of the element at a place; raise ValueError for another tag."""
    tag, length, start = data[at], data[at + 1], at + 2
    if length & 0x80:
        count = length & 0x7F
        length, start = int.from_bytes(data[start : start + count]), start + count
    if start + length > len(data) or (wanted_tag is not None and tag != wanted_tag):
        raise ValueError("not the expected element")
    return tag, start, start + length


def _read_time(data: bytes, at: int) -> tuple[float, int]:
    """Return the time at a place, in seconds since the epoch, and the place after it."""
    tag, start, end = _read_element(data, at)
    text = data[start:end].decode("ascii")
    if tag == _UTC_TIME:  # RFC 5280: 50 to 99 are of the 20th century
        text = f"{'19' if int(text[:2]) >= 50 else '20'}{text}"
    match = _TIME.fullmatch(text)
    if tag not in (_UTC_TIME, _GENERALIZED_TIME) or match is None:
        raise ValueError("no time")
    year, month, day, hour, minute, second = map(int, match.groups())  # strptime would import a module
    return datetime(year, month, day, hour, minute, second, tzinfo=UTC).timestamp(), end
