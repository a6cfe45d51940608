"""The entry point."""

from __future__ import annotations

from autopilot_watchdog.cli.main import main

if __name__ == "__main__":
    main()
