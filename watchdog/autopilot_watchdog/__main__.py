"""Run the command line, as `python -m autopilot_watchdog` and as the zipapp do."""

from __future__ import annotations

from autopilot_watchdog.cli.main import main as run_verb


def main() -> None:
    """Run the verb that the arguments name."""
    run_verb(prog_name="autopilot-watchdog")


if __name__ == "__main__":
    main()
