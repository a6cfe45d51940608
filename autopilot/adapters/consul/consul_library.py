"""Load py-consul without its synchronous client, whose library `requests` nothing here uses: it takes 5 MB."""

from __future__ import annotations

import importlib.util
import sys
from importlib import import_module
from types import ModuleType
from typing import Any

NAME = "consul"


def _load_modules() -> tuple[ModuleType, ModuleType]:
    """Return the modules `consul.base` and `consul.exceptions`.

    The package's own initialization would import `requests`. It is left out if the package is laid out as we know it,
    and made up for when anybody else imports the package.
    """
    spec = importlib.util.find_spec(NAME) if NAME not in sys.modules else None
    if spec is not None:
        package: Any = importlib.util.module_from_spec(spec)
        sys.modules[NAME] = package
        try:
            package.Check = import_module("consul.check").Check  # consul.api.agent imports it from the package
            return import_module("consul.base"), import_module("consul.exceptions")
        except (ImportError, AttributeError):  # another layout: load all of it
            for name in [name for name in sys.modules if name.startswith(f"{NAME}.")]:
                del sys.modules[name]
        finally:
            del sys.modules[NAME]
    return import_module("consul.base"), import_module("consul.exceptions")


consul_base: Any
_exceptions: Any
consul_base, _exceptions = _load_modules()
ConsulException: Any = _exceptions.ConsulException
