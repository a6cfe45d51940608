"""Define the base of all errors that this package raises for its callers."""

from __future__ import annotations

REINSTALL_REMEDY = "install condor-autopilot again, with its dependencies"  # of a library that is missing


class AutopilotError(Exception):
    """An error with a sentence for people; its subclasses say of which part."""
