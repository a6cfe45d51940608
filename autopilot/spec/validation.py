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

from autopilot.spec.findings import Finding
from autopilot.spec.host_checks import check_host, check_quoted_words
from autopilot.spec.keys import NormalizedTree, find_nested_model
from autopilot.spec.parsing import KeyPath, ParsedTree
from autopilot.spec.plan import Plan
from autopilot.spec.plan_compiler import check_plan
from autopilot.spec.plan_compiler import compile_plan as compiled
from autopilot.spec.quantities import format_value
from autopilot.spec.rules import check_rules
from autopilot.spec.spec_model import Spec

_MAX_ROUNDS = 8  # taking out a required value takes out its parent too, at most one level each round


def validate_tree(tree: ParsedTree, *, runs_here: bool) -> tuple[Plan | None, list[Finding]]:
    """The plan, unless a finding is an error, and all findings with paths as written."""
    folded = NormalizedTree(tree.value, Spec)
    findings = [
        Finding(path, "cannot be given twice in one object", at_key=True) for path in tree.list_duplicate_keys()
    ]
    findings += folded.findings
    spec, bad_values, broken = _build_spec(folded.tree)
    findings += [_restore_written_path(f, folded) for f in bad_values if f.path not in folded.intended_paths]
    if spec is not None:
        untrusted = broken | folded.intended_paths
        findings += [
            _restore_written_path(f, folded)
            for f in _run_checks(spec, folded.tree, runs_here)
            if _is_trusted(f, untrusted)
        ]
    if spec is None or any(not f.warning for f in findings):
        return None, findings
    plan = compiled(spec)
    return plan, findings + [_restore_written_path(f, folded) for f in check_plan(plan)]


def _run_checks(spec: Spec, tree: Any, runs_here: bool) -> Iterator[Finding]:
    yield from check_rules(spec)
    yield from check_host(spec, runs_here=runs_here)
    yield from check_quoted_words(tree, spec)


def _build_spec(tree: Any) -> tuple[Spec | None, list[Finding], set[KeyPath]]:
    findings: list[Finding] = []
    broken: set[KeyPath] = set()
    rest = tree
    for round_ in range(_MAX_ROUNDS):
        try:
            return Spec.model_validate(rest), findings, broken
        except ValidationError as error:
            errors = error.errors(include_url=False)
        if round_ == 0:
            findings = [Finding(tuple(e["loc"]), _format_error(e)) for e in errors]
            rest = copy.deepcopy(tree)
        for e in errors:
            broken.add(_remove_value(rest, tuple(e["loc"]), missing=e["type"] == "missing"))
        if () in broken:
            break
    return None, findings, broken


def _format_error(error: Any) -> str:
    kind, given = error["type"], error["input"]
    match kind:
        case "value_error":
            return str(error["ctx"]["error"])
        case "missing":
            return f"cannot be left out; {_describe_key(error['loc'])}"
        case "model_type":
            return f"cannot be {_describe_value(given)}; write an object: {{...}}"
        case "tuple_type":
            return f"cannot be {_describe_value(given)}; write an array: [...]"
    return f"cannot be {_describe_value(given)}: {error['msg']}"


def _describe_value(value: Any) -> str:
    return "an array" if isinstance(value, list) else "an object" if isinstance(value, dict) else format_value(value)


def _describe_key(loc: KeyPath) -> str:
    """What the key at a path is for, from the model's own description."""
    model: Any = Spec
    field = None
    for step in loc:
        if isinstance(step, str):
            field = model.model_fields[step]
            model = find_nested_model(model, step)[0] or model
    return f"it is {field.description}" if field is not None else ""


def _remove_value(tree: Any, path: KeyPath, *, missing: bool) -> KeyPath:
    """Remove the value at a path, or what it leaves incomplete. Returns the path that was removed."""
    if path[:1] == ("jobs",) and len(path) == 2:  # a job is not dropped: others may name it
        tree["jobs"][path[1]] = {"name": f"jobs[{path[1]}]", "exec": ["true"]}
        return path
    if missing:
        return _remove_value(tree, path[:-1], missing=False)
    parent = _get_value_at(tree, path[:-1]) if path else None
    if isinstance(parent, dict):
        parent.pop(path[-1], None)
        return path
    # An item of a list, or inside of a shorthand (`http: "URL"`): what holds it goes as a whole.
    return _remove_value(tree, path[:-1], missing=False) if path else path


def _get_value_at(tree: Any, path: KeyPath) -> Any:
    for step in path:
        try:
            tree = tree[step]
        except (KeyError, IndexError, TypeError):
            return None
    return tree


def _restore_written_path(finding: Finding, normalized: NormalizedTree) -> Finding:
    known = finding.path
    while known not in normalized.written_paths:
        known = known[:-1]
    path = normalized.written_paths[known] + finding.path[len(known) :]
    return Finding(path, finding.message, finding.at_key, finding.warning)


def _is_trusted(finding: Finding, untrusted: set[KeyPath]) -> bool:
    about = (finding.path, *finding.related_paths)
    return not any(path[:n] in untrusted for path in about for n in range(len(path) + 1))
