"""Define the base of all errors that this package raises for its callers."""

from __future__ import annotations


class AutopilotError(Exception):
    """An error with a sentence for people; its subclasses say of which part."""
