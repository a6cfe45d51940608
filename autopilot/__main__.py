"""The entry point. `autopilot run` does not load the command line's library: its first job should not wait for it."""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn


def main() -> None:
    restore_initial_environment()
    arguments = sys.argv[1:]
    if arguments[:1] == ["run"] and len(arguments) <= 2 and not any(a.startswith("-") for a in arguments[1:]):
        run_supervisor(arguments[1] if len(arguments) == 2 else None)
    from autopilot.cli import main as cli

    cli(prog_name="autopilot")


def run_supervisor(config: str | None, *, containerpilot: bool = False) -> NoReturn:
    from autopilot.app.boot import run

    code = run(config, containerpilot=containerpilot)
    # a supervisor has nothing left to tidy up, and an interpreter's own end takes as long as its start
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    os._exit(code)


def restore_initial_environment() -> None:
    """Undo what others did to us: whoever started us may have closed the standard descriptors, and our first file would
    be taken for our output; Python itself may have set LC_CTYPE, which is not our jobs' environment."""
    for fd in range(3):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    if "LC_CTYPE" in os.environ:
        try:
            with open("/proc/self/environ", "rb") as file:
                given = file.read()
        except OSError:
            return
        if not any(variable.startswith(b"LC_CTYPE=") for variable in given.split(b"\0")):
            del os.environ["LC_CTYPE"]


if __name__ == "__main__":
    main()
