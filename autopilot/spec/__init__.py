"""Turn a job spec file into a `Plan`, or into the list of everything that is wrong with it.

Importing this package is cheap: pydantic, the parsers and the template engine are loaded at the first use of a function
that needs them.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from autopilot.spec.load_result import LoadedSpec, Problem, SpecError, ValidatorError
    from autopilot.spec.plan_data import deserialize_plan, serialize_plan
    from autopilot.spec.spec_loading import load, load_text, render
    from autopilot.spec.validation_child import validate_in_child

_MODULE_OF_NAME = {
    "LoadedSpec": "load_result",
    "Problem": "load_result",
    "SpecError": "load_result",
    "ValidatorError": "load_result",
    "load": "spec_loading",
    "load_text": "spec_loading",
    "deserialize_plan": "plan_data",
    "serialize_plan": "plan_data",
    "render": "spec_loading",
    "validate_in_child": "validation_child",
}

__all__ = [
    "LoadedSpec",
    "Problem",
    "SpecError",
    "ValidatorError",
    "deserialize_plan",
    "load",
    "load_text",
    "render",
    "serialize_plan",
    "validate_in_child",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF_NAME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULE_OF_NAME[name]}"), name)
