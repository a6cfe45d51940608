"""From a tree to a `Spec` and its `Plan`, with every problem of every part found in one pass.

pydantic finds all bad values at once but gives no model when there is one. So that the checks between keys still see
the rest, bad values are taken out and the remainder is validated again; what was taken out is remembered, and nothing
is concluded from its absence.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

from pydantic import ValidationError

from autopilot.spec.checks import cross_checks
from autopilot.spec.compiler import compile as compiled
from autopilot.spec.compiler import doubts
from autopilot.spec.findings import Finding
from autopilot.spec.keys import Folded, nested
from autopilot.spec.model import Spec
from autopilot.spec.parsing import Path, Tree
from autopilot.spec.plan import Plan
from autopilot.spec.surroundings import quoted_words, surroundings
from autopilot.spec.units import shown

_MOST_ROUNDS = 8  # taking out a required value takes out its parent too, at most one level each round


def validated(tree: Tree, *, here: bool) -> tuple[Plan | None, list[Finding]]:
    """The plan, unless a finding is an error, and all findings with paths as written."""
    folded = Folded(tree.value, Spec)
    findings = [Finding(path, "cannot be given twice in one object", of_key=True) for path in tree.duplicates()]
    findings += folded.findings
    spec, bad_values, broken = _spec_of(folded.tree)
    findings += [_as_written(f, folded) for f in bad_values if f.path not in folded.missed]
    if spec is not None:
        untrusted = broken | folded.missed
        findings += [_as_written(f, folded) for f in _conclusions(spec, folded.tree, here) if _trusted(f, untrusted)]
    if spec is None or any(not f.warning for f in findings):
        return None, findings
    plan = compiled(spec)
    return plan, findings + [_as_written(f, folded) for f in doubts(plan)]


def _conclusions(spec: Spec, tree: Any, here: bool) -> Iterator[Finding]:
    yield from cross_checks(spec)
    yield from surroundings(spec, here=here)
    yield from quoted_words(tree, spec)


def _spec_of(tree: Any) -> tuple[Spec | None, list[Finding], set[Path]]:
    findings: list[Finding] = []
    broken: set[Path] = set()
    rest = tree
    for round_ in range(_MOST_ROUNDS):
        try:
            return Spec.model_validate(rest), findings, broken
        except ValidationError as error:
            errors = error.errors(include_url=False)
        if round_ == 0:
            findings = [Finding(tuple(e["loc"]), _message(e)) for e in errors]
            rest = copy.deepcopy(tree)
        for e in errors:
            broken.add(_take_out(rest, tuple(e["loc"]), missing=e["type"] == "missing"))
        if () in broken:
            break
    return None, findings, broken


def _message(error: Any) -> str:
    kind, given = error["type"], error["input"]
    match kind:
        case "value_error":
            return str(error["ctx"]["error"])
        case "missing":
            return f"cannot be left out; {_description(error['loc'])}"
        case "model_type":
            return f"cannot be {_kind(given)}; write an object: {{...}}"
        case "tuple_type":
            return f"cannot be {_kind(given)}; write an array: [...]"
    return f"cannot be {_kind(given)}: {error['msg']}"


def _kind(value: Any) -> str:
    return "an array" if isinstance(value, list) else "an object" if isinstance(value, dict) else shown(value)


def _description(loc: Path) -> str:
    """What the key at a path is for, from the model's own description."""
    model: Any = Spec
    field = None
    for step in loc:
        if isinstance(step, str):
            field = model.model_fields[step]
            model = nested(model, step)[0] or model
    return f"it is {field.description}" if field is not None else ""


def _take_out(tree: Any, path: Path, *, missing: bool) -> Path:
    """Remove the value at a path, or what it leaves incomplete. Returns the path that was removed."""
    if path[:1] == ("jobs",) and len(path) == 2:  # a job is not dropped: others may name it
        tree["jobs"][path[1]] = {"name": f"jobs[{path[1]}]", "exec": ["true"]}
        return path
    if missing:
        return _take_out(tree, path[:-1], missing=False)
    parent = _at(tree, path[:-1]) if path else None
    if isinstance(parent, dict):
        parent.pop(path[-1], None)
        return path
    # An item of a list, or inside of a shorthand (`http: "URL"`): what holds it goes as a whole.
    return _take_out(tree, path[:-1], missing=False) if path else path


def _at(tree: Any, path: Path) -> Any:
    for step in path:
        try:
            tree = tree[step]
        except (KeyError, IndexError, TypeError):
            return None
    return tree


def _as_written(finding: Finding, folded: Folded) -> Finding:
    known = finding.path
    while known not in folded.written:
        known = known[:-1]
    path = folded.written[known] + finding.path[len(known) :]
    return Finding(path, finding.message, finding.of_key, finding.warning)


def _trusted(finding: Finding, untrusted: set[Path]) -> bool:
    about = (finding.path, *finding.also)
    return not any(path[:n] in untrusted for path in about for n in range(len(path) + 1))
