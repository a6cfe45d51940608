"""Declare a key of the configuration as a dataclass field with its reader and its sentence in the reference."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import field
from typing import Any


def declare_field(doc: str, read: Callable[[object], Any], **default: Any) -> Any:
    """Declare a key.

    Args:
        doc: The key's sentence in the reference and in the message about its absence.
        read: The reader of its JSON value, see value_readers.
        default: `default` or `default_factory`, as of dataclasses.field; without one the key is required.
    """
    return field(metadata={"doc": doc, "read": read}, kw_only=True, **default)
