"""The entry point. `autopilot run` does not load the command line's library: its first job should not wait for it."""

from __future__ import annotations

import os
import sys


def main() -> None:
    arguments = sys.argv[1:]
    if arguments[:1] == ["run"] and len(arguments) <= 2 and not any(a.startswith("-") for a in arguments[1:]):
        from autopilot.app.boot import run

        code = run(arguments[1] if len(arguments) == 2 else None)
        # a supervisor has nothing left to tidy up, and an interpreter's own end takes as long as its start
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    from autopilot.cli import main as cli

    cli()


if __name__ == "__main__":
    main()
