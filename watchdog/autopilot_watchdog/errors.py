"""Define the base of all errors that the watchdog raises for its callers."""

from __future__ import annotations


class WatchdogError(Exception):
    """Base of the watchdog's errors; the message is a sentence for people."""
