"""Two calls of prctl(2) that Python does not have.

By the C half of ctypes: its Python half takes 5 ms to load, and both are wanted before the first job runs.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36


def adopt_orphans() -> None:
    """Orphans come to PID 1; elsewhere they come to us only as a subreaper."""
    _prctl(PR_SET_CHILD_SUBREAPER, 1)


def end_with_parent(number: int) -> None:
    """Get signal `number` when our parent dies. Lost when the identity changes, so to be set after that."""
    _prctl(PR_SET_PDEATHSIG, number)


def _prctl(option: int, value: int) -> None:
    from _ctypes import call_function, dlopen, dlsym

    this_program: Any = None
    call_function(dlsym(dlopen(this_program, 0), "prctl"), (option, value, 0, 0, 0))
