"""Call prctl(2) and capset(2), system calls without a function in Python.

The C half of ctypes is used alone: its Python half takes 5 ms to load, and this is wanted before the first job runs.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

PR_SET_PDEATHSIG = 1  # get this signal when the parent dies; lost when the identity changes
PR_CAPBSET_READ, PR_CAPBSET_DROP = 23, 24  # the bounding set of capabilities
PR_GET_SECUREBITS, PR_SET_SECUREBITS = 27, 28  # rules for the capabilities of root
PR_SET_NO_NEW_PRIVS = 38  # set-user-id bits and file capabilities have no effect from now on
PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL = 47, 4  # capabilities that survive an exec without root
PR_SET_CHILD_SUBREAPER = 36  # orphans below us come to us, as they come to PID 1


def load_prctl() -> Callable[[int, int], int]:
    """Return prctl(option, value), ready to be called: also in a child that may not read our files any more.

    The function returns -1 for a failure, and the kernel's answer else.
    """
    from _ctypes import call_function, dlopen, dlsym

    this_program: Any = None
    address = dlsym(dlopen(this_program, 0), "prctl")

    def call(option: int, value: int) -> int:
        answer: int = call_function(address, (option, value, 0, 0, 0))
        return answer

    return call


def load_capset() -> Callable[[int, int, int], int]:
    """Return capset(effective, permitted, inheritable): it sets the masks of this process and returns 0 or -1."""
    from _ctypes import call_function, dlopen, dlsym
    from _struct import pack

    this_program: Any = None
    address = dlsym(dlopen(this_program, 0), "capset")
    version_3_of_this_process = pack("=Ii", 0x20080522, 0)

    def call(*masks: int) -> int:
        halves = [mask >> shift & 0xFFFFFFFF for shift in (0, 32) for mask in masks]
        answer: int = call_function(address, (version_3_of_this_process, pack("=6I", *halves)))
        return answer

    return call
