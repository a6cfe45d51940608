"""The entry point. `autopilot run` does not load the command line's library: its first job should not wait for it."""

from __future__ import annotations

import os
import sys


def main() -> None:
    _fill_standard_descriptors()
    arguments = sys.argv[1:]
    if arguments[:1] == ["run"] and len(arguments) <= 2 and not any(a.startswith("-") for a in arguments[1:]):
        from autopilot.app.boot import run

        code = run(arguments[1] if len(arguments) == 2 else None)
        # a supervisor has nothing left to tidy up, and an interpreter's own end takes as long as its start
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
        os._exit(code)
    from autopilot.cli import main as cli

    cli()


def _fill_standard_descriptors() -> None:
    """Whoever started us may have closed them; then our first file would be taken for our output."""
    for fd in range(3):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


if __name__ == "__main__":
    main()
