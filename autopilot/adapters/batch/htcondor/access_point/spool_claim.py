"""Claim the spool for one life, and find out whether the spool outlives the container.

The claim is a lock of the kernel on a file in the spool: it ends with this process, however that ends, and holds
between containers of a host and, where the file system passes locks on, between hosts. The file says who holds it.
A schedd may outlive the supervisor that started it, or run without one. Its address is in the spool, too.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from autopilot.adapters.batch.htcondor.access_point.access_point_config import LOCK_NAME
from autopilot.timestamps import format_timestamp

ADDRESS_NAME = ".schedd_address"  # in SPOOL: HTCondor's default of SCHEDD_ADDRESS_FILE
MAX_RECORD_BYTES = 4096
VOLATILE_TYPES = ("overlay", "aufs", "tmpfs", "ramfs")  # gone with the container


@dataclass(frozen=True, slots=True, kw_only=True)
class SpoolRecord:
    """The last life that used a spool."""

    name: str  # of the schedd
    life: str
    host: str
    since: float  # seconds since the epoch


class SpoolClaim:
    """The lock on one spool."""

    def __init__(self) -> None:
        self._descriptor: int | None = None

    def try_take(self, spool: Path, record: SpoolRecord) -> tuple[bool, SpoolRecord | None]:
        """Take the lock and leave the record for the next life; a claim of this life is kept.

        Returns:
            Whether the spool is claimed now, and the record of the life before, or of the one that holds it.

        Raises:
            OSError: The file cannot be made, or the file system knows no locks.
        """
        if self._descriptor is not None:
            return True, record
        descriptor = os.open(spool / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            found = parse_record(os.pread(descriptor, MAX_RECORD_BYTES, 0))
            os.close(descriptor)
            return False, found
        except OSError:
            os.close(descriptor)
            raise
        before = parse_record(os.pread(descriptor, MAX_RECORD_BYTES, 0))
        self._descriptor = descriptor
        if before is None or (before.name == record.name and replace(before, since=record.since) != record):
            data = json.dumps(asdict(record)).encode()
            os.pwrite(descriptor, data, 0)  # a full disk leaves the record before: the queue keeps its name
            os.ftruncate(descriptor, len(data))
        return True, before

    def release(self) -> None:
        """Give the spool free, for a life that cannot use it."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def parse_record(data: bytes) -> SpoolRecord | None:
    """Return the record in a lock file; None for any other content."""
    try:
        fields = json.loads(data)
        return SpoolRecord(
            name=str(fields["name"]),
            life=str(fields["life"]),
            host=str(fields["host"]),
            since=float(fields["since"]),
        )
    except (ValueError, TypeError, KeyError, RecursionError):
        return None


def read_schedd_address(spool: Path) -> str:
    """Return the address that the spool's last schedd wrote into it; "" without one. A schedd's end removes it."""
    try:
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        descriptor = os.open(spool / ADDRESS_NAME, flags)
    except OSError:
        return ""
    try:
        first_line = os.read(descriptor, MAX_RECORD_BYTES).decode(errors="replace").partition("\n")[0]
    except OSError:
        return ""
    finally:
        os.close(descriptor)
    return first_line if re.fullmatch(r"<[^<>\s]+>", first_line) else ""


def describe_holder(spool: Path, holder: SpoolRecord | None) -> str:
    """Return the problem that another life holds the spool, with its remedy."""
    holds = ""
    if holder is not None:
        holds = f" ({holder.name} on {holder.host}, life {holder.life[:8]}, since {format_timestamp(holder.since)})"
    return (
        f"SPOOL = {spool} is in use by another access point{holds}: two of them would destroy the queue; "
        "end that one, or give this one a spool of its own"
    )


def find_name_problem(spool: Path, name: str, before: SpoolRecord | None) -> str:
    """Return a sentence when the queue in the spool belongs to a schedd of another name, else ""."""
    if before is None or before.name == name:
        return ""
    return (
        f"SPOOL = {spool} has the queue of the access point {before.name}, and this one is {name}: "
        f'set access_point.name to "{before.name}", or give this one a spool of its own '
        f"({LOCK_NAME} in the spool keeps the name)"
    )


def build_record(name: str, life: str) -> SpoolRecord:
    """Return the record of this life."""
    return SpoolRecord(name=name, life=life, host=os.uname().nodename, since=time.time())


def find_owner_problem(spool: Path, uid: int) -> str:
    """Return a sentence when the spool belongs to another user than the daemons run as, else "".

    Raises:
        OSError: There is no spool.
    """
    owner = spool.stat().st_uid
    if owner == uid:
        return ""
    return (
        f"SPOOL = {spool} belongs to uid {owner}, and the user condor has uid {uid} in this image: "
        f"give the user one uid in all images, or run `chown -R {uid} {spool}`"
    )


def find_mount(path: str, mountinfo: str) -> tuple[str, str]:
    """Return the mount point that holds a path, and the type of its file system; ("", "") when none is known.

    Args:
        path: An absolute path without links.
        mountinfo: The text of /proc/self/mountinfo, whose later lines cover earlier ones.
    """
    found = ("", "")
    for line in mountinfo.splitlines():
        left, _, right = line.partition(" - ")
        words, types = left.split(), right.split()
        if len(words) < 5 or not types:
            continue
        place = words[4].encode().decode("unicode_escape") if "\\" in words[4] else words[4]
        inside = place in ("/", path) or path.startswith(f"{place}/")
        if inside and len(place) >= len(found[0]):
            found = (place, types[0])
    return found


def find_volume_problem(spool: Path, mountinfo: str, *, is_container: bool) -> str:
    """Return a sentence when the spool is gone with the container, else "".

    Args:
        spool: The directory.
        mountinfo: The text of /proc/self/mountinfo.
        is_container: This process is PID 1, so the root file system is a container's.
    """
    place, kind = find_mount(os.path.realpath(spool), mountinfo)
    if kind not in VOLATILE_TYPES and not (place == "/" and is_container):
        return ""
    where = f"the {kind} of {place}" if place else "an unknown file system"
    return f"SPOOL = {spool} is on {where}, which is gone with the container: mount a volume there"
