"""Enter the program; `autopilot run` does not load the command line's library, so that its first job need not wait."""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn


def main() -> None:
    """Run the command line."""
    restore_initial_environment()
    arguments = sys.argv[1:]
    if arguments[:1] == ["run"] and len(arguments) <= 2 and not any(a.startswith("-") for a in arguments[1:]):
        run_supervisor(arguments[1] if len(arguments) == 2 else None)
    from autopilot.cli import main as cli

    cli(prog_name="autopilot")


def run_supervisor(config: str | None, *, containerpilot: bool = False) -> NoReturn:
    """Run the supervisor and end the process with its exit code; `config` None means the default job spec."""
    from autopilot.app.boot import run

    code = run(config, containerpilot=containerpilot)
    # a supervisor has cleaned up already, and an interpreter's own end takes as long as its start
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    os._exit(code)


def restore_initial_environment() -> None:
    """Restore standard descriptors and the environment as they should be at the start.

    A parent may have closed the standard descriptors, and the first file that we open would take their place. Python
    may have set LC_CTYPE, which does not belong to our jobs' environment.
    """
    for fd in range(3):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    if "LC_CTYPE" in os.environ:
        try:
            with open("/proc/self/environ", "rb") as file:
                initial = file.read()
        except OSError:
            return
        if not any(variable.startswith(b"LC_CTYPE=") for variable in initial.split(b"\0")):
            del os.environ["LC_CTYPE"]


if __name__ == "__main__":
    main()
