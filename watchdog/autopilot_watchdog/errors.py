"""Define the base of all errors that the watchdog raises for its callers."""

from __future__ import annotations


class WatchdogError(Exception):
    """An error with a sentence for people; its subclasses say of which part."""
