"""Validate a tree as a `Spec` and compile its `Plan`, finding every problem of every part in one pass.

pydantic finds all bad values at once, but builds no model when there is one. Therefore bad values are removed and the
rest is validated again, so that the rules between keys still see the rest. The removed paths are remembered, and no
conclusion is drawn from their absence.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

from pydantic import ValidationError

from autopilot.spec.containerpilot2 import find_containerpilot2
from autopilot.spec.default_job_names import name_unnamed_jobs
from autopilot.spec.empty_values import remove_empty_values
from autopilot.spec.findings import Finding
from autopilot.spec.host_checks import check_host, check_quoted_words
from autopilot.spec.key_paths import KeyPath, get_value_at
from autopilot.spec.keys import NormalizedTree, find_nested_model
from autopilot.spec.parsing import ParsedTree
from autopilot.spec.plan import Plan
from autopilot.spec.plan_compiler import check_plan, compile_plan
from autopilot.spec.quantities import format_value
from autopilot.spec.rules import check_rules
from autopilot.spec.spec_model import Spec

_MAX_ROUNDS = 8  # removing a required value removes its parent too, at most one level in each round


def validate_tree(tree: ParsedTree, *, runs_here: bool) -> tuple[Plan | None, list[Finding]]:
    """Validate a tree and compile it.

    Args:
        tree: The parsed job spec.
        runs_here: True when the spec is to run on this machine.

    Returns:
        The plan (None when a finding is an error), and all findings with paths as written in the file.
    """
    former = find_containerpilot2(tree.value)
    if former is not None:
        return None, [former]
    normalized = NormalizedTree(tree.value, Spec)
    findings = [
        Finding(path, "cannot be given twice in one object", at_key=True) for path in tree.list_duplicate_keys()
    ]
    findings += normalized.findings
    if normalized.is_oversized:
        return None, findings
    findings += [_restore_written_path(f, normalized) for f in remove_empty_values(normalized.tree, Spec)]
    name_unnamed_jobs(normalized.tree)
    spec, bad_values, broken = _build_spec(normalized.tree)
    findings += [_restore_written_path(f, normalized) for f in bad_values if f.path not in normalized.intended_paths]
    if spec is not None:
        untrusted = broken | normalized.intended_paths
        findings += [
            _restore_written_path(f, normalized)
            for f in _run_checks(spec, normalized.tree, runs_here)
            if _is_trusted(f, untrusted)
        ]
    if spec is None or any(not f.warning for f in findings):
        return None, findings
    plan = compile_plan(spec)
    return plan, findings + [_restore_written_path(f, normalized) for f in check_plan(plan)]


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
    given = error["input"]
    match error["type"]:
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
    """Return "it is DESCRIPTION" for the key at a path, from the model's description of it."""
    model: Any = Spec
    field = None
    for step in loc:
        if isinstance(step, str):
            field = model.model_fields[step]
            model = find_nested_model(model, step)[0] or model
    return f"it is {field.description}" if field is not None else ""


def _remove_value(tree: Any, path: KeyPath, *, missing: bool) -> KeyPath:
    """Remove the value at a path, or the object that its absence makes incomplete; return the removed path."""
    if path[:1] == ("jobs",) and len(path) == 2:  # a job is replaced, not removed: others may name it
        tree["jobs"][path[1]] = {"name": f"jobs[{path[1]}]", "exec": ["true"]}
        return path
    if missing:
        return _remove_value(tree, path[:-1], missing=False)
    parent = get_value_at(tree, path[:-1]) if path else None
    if isinstance(parent, dict):
        parent.pop(path[-1], None)
        return path
    # An item of a list, or part of a shorthand (`http: "URL"`): remove the container as a whole.
    return _remove_value(tree, path[:-1], missing=False) if path else path


def _restore_written_path(finding: Finding, normalized: NormalizedTree) -> Finding:
    parent = finding.path
    while parent not in normalized.written_paths:
        parent = parent[:-1]
    path = normalized.written_paths[parent] + finding.path[len(parent) :]
    return Finding(path, finding.message, finding.at_key, finding.warning, finding.customary)


def _is_trusted(finding: Finding, untrusted: set[KeyPath]) -> bool:
    paths = (finding.path, *finding.related_paths)
    return not any(path[:length] in untrusted for path in paths for length in range(len(path) + 1))
