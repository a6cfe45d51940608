"""Call prctl(2), a system call without a function in Python.

The C half of ctypes is used alone: its Python half takes 5 ms to load, and this is wanted before the first job runs.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

PR_SET_PDEATHSIG = 1  # get this signal when the parent dies; lost when the identity changes
PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL = 47, 4  # capabilities that survive an exec without root
PR_SET_CHILD_SUBREAPER = 36  # orphans below us come to us, as they come to PID 1


def load_prctl() -> Callable[[int, int], None]:
    """Return prctl(option, value), ready to be called: also in a child that may not read our files any more."""
    from _ctypes import call_function, dlopen, dlsym

    this_program: Any = None
    address = dlsym(dlopen(this_program, 0), "prctl")

    def call(option: int, value: int) -> None:
        call_function(address, (option, value, 0, 0, 0))

    return call
