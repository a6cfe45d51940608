"""The job spec: from a file to a `Plan`.

Importing this package is cheap; pydantic, the parsers and the template engine are loaded at the first use of a function
that needs them.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from autopilot.spec.child import validated_in_child
    from autopilot.spec.loading import load, load_text, render
    from autopilot.spec.outcome import Loaded, Problem, SpecError, ValidatorFailed
    from autopilot.spec.plandata import plan_from_data, plan_to_data

_HOME = {
    "Loaded": "outcome",
    "Problem": "outcome",
    "SpecError": "outcome",
    "ValidatorFailed": "outcome",
    "load": "loading",
    "load_text": "loading",
    "plan_from_data": "plandata",
    "plan_to_data": "plandata",
    "render": "loading",
    "validated_in_child": "child",
}

__all__ = [
    "Loaded",
    "Problem",
    "SpecError",
    "ValidatorFailed",
    "load",
    "load_text",
    "plan_from_data",
    "plan_to_data",
    "render",
    "validated_in_child",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
