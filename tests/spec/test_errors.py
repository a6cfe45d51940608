"""Test the exceptions of the spec layer."""

from __future__ import annotations

import inspect
import pkgutil
from importlib import import_module

import autopilot.spec
from autopilot.errors import AutopilotError
from autopilot.spec.plan_data import PlanDataError
from autopilot.spec.quantities import InvalidValueError
from autopilot.spec.time_zones import TimeZoneError


def test_one_base() -> None:
    """Every public exception of the spec layer derives from AutopilotError."""
    modules = [
        import_module(info.name)
        for info in pkgutil.walk_packages(autopilot.spec.__path__, f"{autopilot.spec.__name__}.")
    ]
    errors = {
        cls
        for module in modules
        for name, cls in inspect.getmembers(module, inspect.isclass)
        if issubclass(cls, Exception) and cls.__module__ == module.__name__ and not name.startswith("_")
    }
    assert len(errors) >= 8
    assert {cls.__name__ for cls in errors if not issubclass(cls, AutopilotError)} == set()


def test_standard_bases() -> None:
    """Values and plans are ValueErrors, zones LookupErrors, because pydantic and other layers catch these."""
    assert issubclass(InvalidValueError, ValueError)
    assert issubclass(PlanDataError, ValueError)
    assert issubclass(TimeZoneError, LookupError)
