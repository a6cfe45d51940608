"""Describe a mistake at a path of the spec, before its line and column are known."""

from __future__ import annotations

from dataclasses import dataclass

from autopilot.spec.key_paths import KeyPath


@dataclass(frozen=True, slots=True)
class Finding:
    """A mistake or doubt, at a path of the spec.

    Attributes:
        path: Keys and indices that lead to the value.
        message: The sentence after the path: "cannot ..., got ...; REMEDY".
        at_key: True when the key itself is wrong: the problem then points at the key instead of the value.
        warning: True when the spec can run nevertheless.
        customary: True for a warning about what ContainerPilot takes without a word: its users need not see it.
        related_paths: Further paths that the conclusion rests on; the finding is dropped when one of them is broken.
    """

    path: KeyPath
    message: str
    at_key: bool = False
    warning: bool = False
    customary: bool = False
    related_paths: tuple[KeyPath, ...] = ()
