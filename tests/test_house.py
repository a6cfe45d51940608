"""A reader can rely on the names, errors, constructors and tasks of the tree, and on the paths in its documents."""

from __future__ import annotations

import ast
import functools
import os
import re
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.source_trees import walk_statements

pytestmark = pytest.mark.xdist_group("sources")  # they are read once
ROOT = Path(__file__).parents[1]
PACKAGES = {"autopilot": ROOT / "autopilot", "autopilot_watchdog": ROOT / "watchdog/autopilot_watchdog"}
BASE_ERRORS = {"autopilot": "AutopilotError", "autopilot_watchdog": "WatchdogError"}
MODULES = [path for package in PACKAGES.values() for path in sorted(package.rglob("*.py"))]
SHARED_NAMES = {
    "errors": "the base of the errors of each distribution",
    "timestamps": "each distribution's one helper; neither imports the other",
    "retry_delay": "each distribution's one helper; neither imports the other",
    "main": "the command line of each distribution",
    "check": "a verb of both command lines",
    "run": "a verb of both command lines",
    "status": "a verb of both command lines",
    "plan": "the verb, beside the plan",
    "events": "the verb, beside the events",
}
MAX_CONSTRUCTOR_ARGUMENTS = 7
TASK_OWNERS = {"app/task_set.py": "the set itself"}
DOCUMENTS = sorted(
    path
    for path in (
        *ROOT.glob("*.md"),
        *ROOT.glob("docs/**/*.md"),
        *ROOT.glob("examples/**/*.md"),
        *ROOT.glob(".git*/**/*.md"),
    )
    if path.name != "CHANGELOG.md"  # tells of the past
)
PLACEHOLDERS = re.compile(r"\b(NAME|VERB)(_|\.|/)")


@functools.cache
def parse_classes(package: Path) -> dict[str, list[ast.ClassDef]]:
    """Map each name of a class of a package to its definitions."""
    classes = defaultdict(list)
    for path in package.rglob("*.py"):
        for node in walk_statements(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef):
                classes[node.name].append(node)
    return classes


def list_bases(name: str, classes: dict[str, list[ast.ClassDef]]) -> set[str]:
    """Return the names of all bases of a class, direct and indirect, without their modules."""
    bases = {ast.unparse(base).rpartition(".")[2] for node in classes.get(name, ()) for base in node.bases}
    return bases.union(*(list_bases(base, classes) for base in bases if base != name))


def is_builtin_error(name: str) -> bool:
    value = getattr(__builtins__, name, None) if not isinstance(__builtins__, dict) else __builtins__.get(name)
    return isinstance(value, type) and issubclass(value, BaseException)


def test_no_module_is_named_as_one_of_the_standard_library() -> None:
    """A module with such a name would be taken for the library's, by readers and by tools."""
    assert [path for path in MODULES if path.stem in sys.stdlib_module_names] == []


def test_modules_have_names_of_their_own() -> None:
    """A module's name occurs once, except for the names that are listed with their reason."""
    places = defaultdict(list)
    for path in MODULES:
        if not path.stem.startswith("__"):
            places[path.stem].append(path)
    assert {name for name, paths in places.items() if len(paths) > 1} == set(SHARED_NAMES)


@pytest.mark.parametrize("package", PACKAGES)
def test_errors_have_one_base(package: str) -> None:
    """Every exception of a distribution derives from its base, and its name ends in Error."""
    classes = parse_classes(PACKAGES[package])
    found = 0
    for name in classes:
        bases = list_bases(name, classes)
        if any(is_builtin_error(base) for base in bases) or any(base.endswith("Exception") for base in bases):
            found += 1
            assert name.endswith("Error"), name
            assert name == BASE_ERRORS[package] or BASE_ERRORS[package] in bases, name
    assert found > 5


@pytest.mark.parametrize("package", PACKAGES)
def test_constructors_are_small(package: str) -> None:
    """No constructor takes more than seven arguments beside self."""
    for name, definitions in parse_classes(PACKAGES[package]).items():
        for method in (member for node in definitions for member in node.body):
            if isinstance(method, ast.FunctionDef) and method.name == "__init__":
                given = [*method.args.posonlyargs, *method.args.args, *method.args.kwonlyargs]
                assert len(given) - 1 <= MAX_CONSTRUCTOR_ARGUMENTS, name


def list_bare_tasks(path: Path) -> Iterator[int]:
    """Yield the lines that start a task outside of an `async with asyncio.TaskGroup()`."""
    text = path.read_text()
    if not re.search("create_task|ensure_future|run_coroutine_threadsafe", text):
        return
    tree = ast.parse(text)
    groups = {
        ast.unparse(item.optional_vars)
        for node in ast.walk(tree)
        if isinstance(node, ast.AsyncWith)
        for item in node.items
        if item.optional_vars is not None and ast.unparse(item.context_expr) == "asyncio.TaskGroup()"
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute | ast.Name):
            owner, _, function = ast.unparse(node.func).rpartition(".")
            if function in ("create_task", "ensure_future", "run_coroutine_threadsafe") and owner not in groups:
                yield node.lineno


def test_no_task_is_bare() -> None:
    """Every task belongs to a TaskGroup or to the life's TaskSet, so that each failure is heard."""
    bare = {
        path.relative_to(PACKAGES["autopilot"]).as_posix(): list(list_bare_tasks(path))
        for path in PACKAGES["autopilot"].rglob("*.py")
    }
    assert {path for path, lines in bare.items() if lines} == set(TASK_OWNERS)


def test_a_bare_task_is_found(tmp_path: Path) -> None:
    """A task of the loop or of asyncio is bare, one of a group is not."""
    (tmp_path / "module.py").write_text(
        "async def work():\n"
        "    async with asyncio.TaskGroup() as group:\n"
        "        group.create_task(a())\n"
        "    asyncio.create_task(b())\n"
        "    loop.create_task(c())\n"
        "    ensure_future(d())\n"
    )
    assert list(list_bare_tasks(tmp_path / "module.py")) == [4, 5, 6]


# --- documents ---


@functools.cache
def list_tree() -> tuple[str, ...]:
    """Return every file and folder of the tree as a path with a slash in front; folders end with one."""
    found = []
    for folder, subfolders, files in os.walk(ROOT):
        subfolders[:] = [name for name in subfolders if name not in (".git", ".venv", "__pycache__")]
        place = Path("/") / Path(folder).relative_to(ROOT)
        found += [f"{place / name}/" for name in subfolders] + [str(place / name) for name in files]
    return tuple(found)


def list_named_paths(text: str) -> list[str]:
    """Return the Python files, and the folders in code, that a document names."""
    names = re.findall(r"[\w./-]*\w\.py\b", text) + re.findall(r"`((?:\w+/)+)`", text)
    return [name.removeprefix("../").removeprefix("./") for name in names if not PLACEHOLDERS.search(name)]


def is_dotted_name_there(name: str) -> bool:
    """Return True if a dotted name of a package is a module, or a name that the module has in its text."""
    package, *parts = name.split(".")
    place = PACKAGES[package]
    while parts and (place / parts[0]).is_dir():
        place /= parts.pop(0)
    module = f"{parts.pop(0)}.py" if parts and (place / f"{parts[0]}.py").is_file() else "__init__.py"
    place /= module
    return place.is_file() and (not parts or re.search(rf"\b{parts[0]}\b", place.read_text()) is not None)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_documents_name_what_is_there(path: Path) -> None:
    """Every Python file, folder and module that a document names exists."""
    text, tree = path.read_text(), list_tree()
    missing = [name for name in list_named_paths(text) if not any(found.endswith("/" + name) for found in tree)]
    # of files, and of containers' labels
    files = r"autopilot\.(?:json5?|conf|sock|fish|urgency|watchdog|digest|image|slot|config)\b"
    dotted = re.findall(rf"\b(?!{files})(?:autopilot|autopilot_watchdog)(?:\.[a-zA-Z_]\w*)+", text)
    assert missing + [name for name in dotted if not is_dotted_name_there(name)] == []


@pytest.mark.parametrize("name", ["architecture.md", "glossary.md", "../CONTRIBUTING.md"])
def test_classes_that_are_named(name: str) -> None:
    """Every class that the pages about the code name is defined in it."""
    named = set(re.findall(r"`([A-Z][a-z]+(?:[A-Z][a-z]+)*)`", (ROOT / "docs" / name).read_text()))
    defined = set().union(*(parse_classes(package) for package in PACKAGES.values()))
    assert named - defined <= {"Args", "Returns", "Raises", "Error"}


def test_glossary_has_the_places() -> None:
    """Each term of the glossary has one row, in order, and lives where the row says."""
    supervisor, watchdog = (ROOT / "docs/glossary.md").read_text().split("\n## The watchdog\n")
    for text, package in ((supervisor, PACKAGES["autopilot"]), (watchdog, PACKAGES["autopilot_watchdog"])):
        rows = [line.strip("| ").split(" | ") for line in text.splitlines() if re.match(r"\| (?!term)", line)]
        assert len(rows) > 10 and all(len(row) == 4 for row in rows)
        terms = [row[0] for row in rows]
        assert terms == sorted(set(terms), key=str.lower)
        for term, _, _, where in rows:
            places = re.findall(r"`([^`]+)`", where)
            assert places and all((package / place).exists() for place in places), term


def test_no_merge_is_left_half_done() -> None:
    """No text of the tree has the markers of a conflict, which neither a page nor a configuration would refuse."""
    folders = ("autopilot", "watchdog", "docs", "examples", "systemd", "lab", "benchmarks", "tests")
    texts = [*ROOT.glob("*.*"), *(path for folder in folders for path in (ROOT / folder).rglob("*.*"))]
    found = [
        str(path.relative_to(ROOT))
        for path in texts
        if path.is_file() and re.search(rb"^(<{7}|>{7}) ", path.read_bytes(), re.MULTILINE)
    ]
    assert not found
