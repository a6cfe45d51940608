"""Restrict the privileges of a process between fork and exec: capabilities, secure bits, no_new_privs.

Only a process that asks for something, or that becomes another user, gets here. The order counts. The bounding set and
the secure bits take CAP_SETPCAP, which setuid(2) takes away, so they come before it. The inheritable and the ambient
set come after it: the kernel keeps both across setuid(2) where the supervisor is not root. A program that root executes
gets its inheritable and its bounding set, so the inheritable set is always cut down with the bounding set.
"""

from __future__ import annotations

import errno

from autopilot.process.kernel_calls import (
    PR_CAP_AMBIENT,
    PR_CAP_AMBIENT_CLEAR_ALL,
    PR_CAPBSET_DROP,
    PR_CAPBSET_READ,
    PR_GET_SECUREBITS,
    PR_SET_NO_NEW_PRIVS,
    PR_SET_SECUREBITS,
    load_capset,
    load_prctl,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection

MAX_CAPABILITIES = 64  # numbers that the kernel's interface has room for


def read_capability_sets() -> dict[str, int]:
    """Return our capability sets as bit masks, by the kernel's names: CapInh, CapPrm, CapEff, CapBnd, CapAmb.

    Raises:
        OSError: There is no /proc.
    """
    with open("/proc/self/status", "rb") as file:
        lines = [line.split() for line in file if line.startswith(b"Cap")]
    return {line[0].decode().rstrip(":"): int(line[1], 16) for line in lines}


class Restrictions:
    """The privileges that a process loses before it becomes its program; made before the fork, applied after it."""

    def __init__(
        self,
        capabilities: Collection[int] | None,
        secure_bits: int,
        *,
        no_new_privs: bool,
        changes_user: bool,
        is_root: bool,
    ) -> None:
        """Load the system calls: the child may not be able to read our files any more.

        Args:
            capabilities: The capabilities that stay in the bounding set; None for all of them.
            secure_bits: Bits to set beside those that are set.
            no_new_privs: No program that it executes may gain privileges.
            changes_user: The process becomes another user: no capability of ours stays with it.
            is_root: Its user is root.
        """
        self._capabilities, self._secure_bits, self._no_new_privs = capabilities, secure_bits, no_new_privs
        self._changes_user, self._is_root = changes_user, is_root
        self._call_prctl, self._call_capset = load_prctl(), load_capset()

    @property
    def is_for_another_user(self) -> bool:
        """True when the process becomes a user other than root, with none of our rights."""
        return self._changes_user and not self._is_root

    def apply_as_supervisor(self) -> None:
        """Limit what takes a right of the supervisor, before the process changes its user.

        Raises:
            PermissionError: The supervisor has not that right.
        """
        if self._capabilities is not None:
            self._limit_bounding_set(self._capabilities)
        before = max(0, self._call_prctl(PR_GET_SECUREBITS, 0))
        wanted = before | self._secure_bits
        if wanted != before and self._call_prctl(PR_SET_SECUREBITS, wanted) < 0:
            raise PermissionError(errno.EPERM, "the supervisor needs CAP_SETPCAP to set secure bits")

    def apply_as_user(self) -> None:
        """Drop the capabilities that an exec would hand on, after the process has changed its user.

        Raises:
            OSError: The kernel refuses it.
        """
        if self._changes_user or self._capabilities is not None:
            self._drop_capabilities()
        if self._no_new_privs and self._call_prctl(PR_SET_NO_NEW_PRIVS, 1) < 0:
            raise PermissionError(errno.EPERM, "the kernel refuses no_new_privs")

    def _limit_bounding_set(self, kept: Collection[int]) -> None:
        for number in range(MAX_CAPABILITIES):
            has_capability = self._call_prctl(PR_CAPBSET_READ, number)
            if has_capability < 0:  # the kernel knows no further ones
                return
            if has_capability and number not in kept and self._call_prctl(PR_CAPBSET_DROP, number) < 0:
                raise PermissionError(errno.EPERM, "the supervisor needs CAP_SETPCAP to limit capabilities")

    def _drop_capabilities(self) -> None:
        sets = read_capability_sets()
        mask = 0
        if self._changes_user:
            self._call_prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL)
        else:
            mask = sum(1 << number for number in self._capabilities or ())
        # with the secure bit no-setuid-fixup, setuid(2) has left them
        keeps_own = self._is_root or not self._changes_user
        permitted, effective = (sets["CapPrm"], sets["CapEff"]) if keeps_own else (0, 0)
        # the kernel takes from the ambient set what the inheritable set loses
        if self._call_capset(effective, permitted, sets["CapInh"] & mask) < 0:
            raise PermissionError(errno.EPERM, "the kernel refuses to drop capabilities")
