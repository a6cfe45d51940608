"""Name the capabilities and secure bits of Linux, and parse lists of them (capabilities(7))."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from autopilot.spec.os_names import format_suggestion
from autopilot.spec.quantities import InvalidValueError, format_value

# In the order of their numbers, which begin with 0.
CAPABILITY_NAMES = (
    *("CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_SETGID"),
    *("CAP_SETUID", "CAP_SETPCAP", "CAP_LINUX_IMMUTABLE", "CAP_NET_BIND_SERVICE", "CAP_NET_BROADCAST"),
    *("CAP_NET_ADMIN", "CAP_NET_RAW", "CAP_IPC_LOCK", "CAP_IPC_OWNER", "CAP_SYS_MODULE", "CAP_SYS_RAWIO"),
    *("CAP_SYS_CHROOT", "CAP_SYS_PTRACE", "CAP_SYS_PACCT", "CAP_SYS_ADMIN", "CAP_SYS_BOOT", "CAP_SYS_NICE"),
    *("CAP_SYS_RESOURCE", "CAP_SYS_TIME", "CAP_SYS_TTY_CONFIG", "CAP_MKNOD", "CAP_LEASE", "CAP_AUDIT_WRITE"),
    *("CAP_AUDIT_CONTROL", "CAP_SETFCAP", "CAP_MAC_OVERRIDE", "CAP_MAC_ADMIN", "CAP_SYSLOG", "CAP_WAKE_ALARM"),
    *("CAP_BLOCK_SUSPEND", "CAP_AUDIT_READ", "CAP_PERFMON", "CAP_BPF", "CAP_CHECKPOINT_RESTORE"),
)
# The bits of prctl(PR_SET_SECUREBITS), by the names that systemd gives them.
SECURE_BITS = {
    "noroot": 1 << 0,
    "noroot-locked": 1 << 1,
    "no-setuid-fixup": 1 << 2,
    "no-setuid-fixup-locked": 1 << 3,
    "keep-caps": 1 << 4,
    "keep-caps-locked": 1 << 5,
    "no-cap-ambient-raise": 1 << 6,
    "no-cap-ambient-raise-locked": 1 << 7,
}


def format_capabilities(numbers: Iterable[int]) -> str:
    """Return the names of capabilities, joined by commas."""
    return ", ".join(
        CAPABILITY_NAMES[number] if number < len(CAPABILITY_NAMES) else f"capability {number}"
        for number in sorted(numbers)
    )


def parse_capabilities(value: Any) -> tuple[int, ...]:
    """Return the numbers of capabilities, in ascending order; "none" and [] are no capability."""
    names = _parse_names(value, 'an array of names like ["CAP_CHOWN"], or "none"')
    full_names = [name.upper() if name.upper().startswith("CAP_") else f"CAP_{name.upper()}" for name in names]
    for name, full_name in zip(names, full_names, strict=True):
        if full_name not in CAPABILITY_NAMES:
            raise _build_unknown_name_error(name, full_name, CAPABILITY_NAMES, "capability")
    return tuple(sorted({CAPABILITY_NAMES.index(name) for name in full_names}))


def parse_secure_bits(value: Any) -> int:
    """Return the sum of secure bits, given by systemd's names for them."""
    bits = 0
    for name in _parse_names(value, 'an array of names like ["noroot", "noroot-locked"]'):
        spelling = name.lower().replace("_", "-")
        if spelling not in SECURE_BITS:
            raise _build_unknown_name_error(name, spelling, SECURE_BITS, "secure bit")
        bits |= SECURE_BITS[spelling]
    return bits


def _parse_names(value: Any, right: str) -> list[str]:
    if value == "none":
        return []
    if not isinstance(value, list | tuple):
        raise InvalidValueError(f"cannot be {format_value(value)}; write {right}")
    for name in value:
        if not isinstance(name, str):
            raise InvalidValueError(f"cannot contain {format_value(name)}; write {right}")
    return list(value)


def _build_unknown_name_error(name: str, spelling: str, known: Iterable[str], kind: str) -> ValueError:
    return InvalidValueError(f"cannot use {format_value(name)}: no such {kind}{format_suggestion(spelling, known)}")
