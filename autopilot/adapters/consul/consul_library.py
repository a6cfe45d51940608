"""Load py-consul without its synchronous client, whose library `requests` nothing here uses: it takes 5 MB."""

from __future__ import annotations

import importlib.util
import sys
from importlib import import_module
from typing import Any

__all__ = ["ConsulException", "consul_base"]


def _load_base() -> Any:
    """Return the module `consul.base`.

    The package's own initialization would import `requests`. It is left out if the package is laid out as we know it.
    """
    if "consul" not in sys.modules and (spec := importlib.util.find_spec("consul")) is not None:
        package: Any = importlib.util.module_from_spec(spec)
        sys.modules["consul"] = package
        try:
            package.Check = import_module("consul.check").Check  # consul.api.agent imports it from the package
            return import_module("consul.base")
        except (ImportError, AttributeError):  # another layout: load all of it
            for name in [name for name in sys.modules if name.partition(".")[0] == "consul"]:
                del sys.modules[name]
    return import_module("consul.base")


consul_base = _load_base()

from consul.exceptions import ConsulException  # noqa: E402 - it would load the whole package
