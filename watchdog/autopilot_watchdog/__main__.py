"""Run the command line, as `python -m autopilot_watchdog` and as the zipapp do."""

from __future__ import annotations

from autopilot_watchdog.cli.main import main

if __name__ == "__main__":
    main()
