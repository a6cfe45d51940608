"""Define the port of permits: limits among hosts, which the registry's adapter keeps."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Protocol


class Permits(Protocol):
    """Permits of which only a few exist among all hosts."""

    @property
    def lock_holders(self) -> Collection[str]:
        """Jobs whose runs need a permit, and "" for the lifetime's end."""
        ...

    def request_permit(self, holder: str, on_granted: Callable[[bool], None]) -> None:
        """Ask for a permit; `on_granted` is called when it is the holder's turn, whenever that is."""
        ...

    def release_permit(self, holder: str) -> None:
        """Give a permit back; does nothing where the holder has none."""
        ...
