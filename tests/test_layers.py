"""Imports go only downwards, adapters meet only in the wiring, and what is not used is not loaded."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tests.source_trees import list_imports, walk_statements

pytestmark = pytest.mark.xdist_group("sources")  # they are read once
PACKAGE = Path(__file__).parent.parent / "autopilot"
LAYERS = ["spec", "machines", "api", "process", "runtime", "adapters", "app", "cli", "containerpilot"]
PURE = {"asyncio", "os", "socket", "subprocess", "time", "threading", "select", "signal"}


def list_modules(layer):
    return sorted((PACKAGE / layer).rglob("*.py"))


@pytest.mark.parametrize("layer", LAYERS)
def test_imports_go_downwards(layer):
    """No module imports from a layer above its own."""
    above = LAYERS[LAYERS.index(layer) + 1 :]
    for path in list_modules(layer):
        for name in list_imports(path):
            parts = name.split(".")
            if parts[0] == "autopilot" and len(parts) > 1:
                assert parts[1] not in above, f"{path.relative_to(PACKAGE)} imports {name}"


def test_machines_are_pure():
    """The machines import nothing that could open a file, read a clock or wait."""
    for path in list_modules("machines"):
        outside = {name.split(".")[0] for name in list_imports(path)}
        assert not outside & PURE, f"{path.name}: {outside & PURE}"


def test_no_batch_system_in_machines_and_wiring():
    """The core and the wiring name no batch system: the registry alone knows them."""
    for path in (*list_modules("machines"), *list_modules("app")):
        text = path.read_text().replace("condor-autopilot", "")  # this distribution's own name
        assert "condor" not in text.lower(), path.relative_to(PACKAGE)


ADAPTERS = [
    "batch/htcondor",
    "batch/slurm",
    "batch/command",
    "checks",
    "consul",
    "control",
    "logs",
    "telemetry",
    "templates",
]


@pytest.mark.parametrize("room", ADAPTERS)
def test_adapter_stands_alone(room):
    """An adapter imports no other adapter: they meet in the wiring. The modules directly in adapters/ are shared."""
    own = f"autopilot.adapters.{room.replace('/', '.')}"
    others = tuple(f"autopilot.adapters.{other.replace('/', '.')}" for other in ADAPTERS if other != room)
    place = PACKAGE / "adapters" / room
    for path in sorted(place.rglob("*.py")) if place.is_dir() else [place.with_suffix(".py")]:
        for name in list_imports(path):
            assert name.startswith(own) or not name.startswith(others), f"{path.relative_to(PACKAGE)} imports {name}"


@pytest.mark.parametrize("module", ["amounts", "errors", "retry_delay", "safe_files", "socket_addresses", "timestamps"])
def test_foundations_need_no_layer(module):
    """The modules that every layer may import import nothing of the package themselves."""
    for name in list_imports(PACKAGE / f"{module}.py"):
        assert not name.startswith("autopilot"), f"{module}.py imports {name}"


@pytest.mark.parametrize("module", ["consul/registration", "consul/registration_state", "consul/service_definition"])
def test_decisions_of_consul_are_pure(module):
    """What is decided about Consul imports nothing that could open a connection, read a clock or wait."""
    outside = {name.split(".")[0] for name in list_imports(PACKAGE / f"adapters/{module}.py")}
    assert not outside & {*PURE, "consul"}


def list_loaded_modules(statement):
    code = f"import sys; {statement}; print(' '.join(sys.modules))"
    return set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split())


def test_boot_loads_little():
    """On the way to the first job neither asyncio nor json, re, enum or any library is loaded."""
    loaded = list_loaded_modules("import autopilot.app.boot")
    assert not loaded & {"asyncio", "json", "re", "enum", "dataclasses", "pydantic", "click", "structlog", "h11"}


def test_client_of_containerpilot_loads_little():
    """A sensor's `containerpilot -putmetric`, perhaps once a second, loads no command line's library and no HTTP."""
    loaded = list_loaded_modules("import autopilot.containerpilot.control_flags")
    assert not loaded & {"click", "http.client", "ssl", "email", "asyncio", "socket", "pydantic", "autopilot.spec.plan"}


def test_supervisor_loads_no_more_than_it_needs():
    """A running supervisor carries no pydantic, no command line and no HTCondor unless its spec uses it."""
    loaded = list_loaded_modules("import autopilot.app.supervisor, autopilot.spec.plan_data")
    assert not loaded & {"pydantic", "click", "h11", "htcondor2", "classad2", "autopilot.adapters.batch", "pyjson5"}
    assert not loaded & {"consul", "ifaddr", "prometheus_client", "jinja2", "autopilot.adapters.consul"}
    assert not loaded & {"cronsim", "zoneinfo", "autopilot.api", "typing_extensions"}


def test_consul_loads_no_second_http_client():
    """The client of Consul loads neither aiohttp nor requests, and py-consul is all there for it."""
    loaded = list_loaded_modules(
        "import autopilot.adapters.consul.consul_client;"
        "from autopilot.adapters.consul.consul_library import consul_base; consul_base.Consul"
    )
    own = list_loaded_modules("import autopilot.adapters.consul.consul_client; from consul import Consul")
    assert "requests" in own, "another user of py-consul has all of it"
    assert not loaded & {"aiohttp", "requests", "urllib3", "http.client"}


ROOT = PACKAGE.parent
PACKAGES = {"autopilot": ROOT, "autopilot_watchdog": ROOT / "watchdog", "lab": ROOT, "benchmarks": ROOT}


def list_import_edges(package):
    """Map each module of a package to the modules of that package that it imports anywhere, for other than types."""
    base = PACKAGES[package]
    paths = {}
    for path in (base / package).rglob("*.py"):
        parts = path.relative_to(base).with_suffix("").parts
        paths[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    edges = {}
    for module, path in paths.items():
        tree = ast.parse(path.read_text())
        for_types = {
            id(inner)
            for node in walk_statements(tree)
            if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
            for statement in node.body
            for inner in (statement, *walk_statements(statement))
        }
        targets = set()
        for node in walk_statements(tree):
            if id(node) in for_types:
                continue
            if isinstance(node, ast.Import):
                targets |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                names = {f"{node.module}.{alias.name}" for alias in node.names}
                targets |= names if names <= paths.keys() else {node.module} | names
        edges[module] = (targets & paths.keys()) - {module}
    return edges


def find_import_circles(edges):
    """Sets of modules that import one another, directly or through others (Tarjan's algorithm)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    circles: list[list[str]] = []

    def visit(module):
        index[module] = low[module] = len(index)
        stack.append(module)
        for target in sorted(edges[module]):
            if target not in index:
                visit(target)
                low[module] = min(low[module], low[target])
            elif target in stack:
                low[module] = min(low[module], index[target])
        if low[module] == index[module]:
            members = stack[stack.index(module) :]
            del stack[stack.index(module) :]
            if len(members) > 1:
                circles.append(sorted(members))

    for module in sorted(edges):
        if module not in index:
            visit(module)
    return circles


def test_a_circle_is_found():
    """Modules that import one another through a third are found, and those that only point at them are not."""
    edges = {"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}, "e": set()}
    assert find_import_circles(edges) == [["a", "b", "c"]]


@pytest.mark.parametrize("package", PACKAGES)
def test_no_import_circle(package):
    """No modules of a package import one another, at their heads or late in a function."""
    assert find_import_circles(list_import_edges(package)) == []
