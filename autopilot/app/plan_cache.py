"""Read and write compiled plans: the result of validating a config, kept so that the next start is quick.

`autopilot check --compile` writes one beside the config when an image is built. It is read from there only: a plan in
the state directory, which outlives the container, would carry a compromise of one container into the next. It is used
only if it was made by this version from exactly this text, templates filled in; so it can be stale but never wrong. A
compiled plan is as trusted as the config: one that others may write is not used.

The file is JSON. `json` itself takes 8 ms to load, for its regular expressions; its scanner, written in C, needs none.
"""

from __future__ import annotations

import os

from autopilot import __version__
from autopilot.safe_files import read_file, replace_file

MAX_PLAN_BYTES = 64 << 20  # the plan of the largest job spec has a few
WRITABLE_BY_OTHERS = 0o022


class _JsonOptions:
    """The options of the scanner, as `json.loads` has them by default."""

    strict = True
    object_hook = None
    object_pairs_hook = None
    parse_float = float
    parse_int = int
    parse_constant = float  # Infinity: a limit that there is not


def get_path_beside(config: str) -> str:
    """Return the path of the compiled plan beside the config."""
    return config + ".plan"


def find(text: str, path: str) -> dict[str, object] | None:
    """Return the plan data that the file at `path` has for the config's text; None when it has none."""
    try:
        content = _parse_json(read_file(path, MAX_PLAN_BYTES, is_trusted=_is_trusted).decode())
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(content, dict) or content.get("version") != __version__ or content.get("text") != text:
        return None
    plan = content.get("plan")
    return plan if isinstance(plan, dict) else None


def write(path: str, text: str, plan: dict[str, object]) -> None:
    """Write a compiled plan: the file is whole or absent, and as private as a config with secrets must be.

    Args:
        path: The file.
        text: The config's text, templates filled in.
        plan: The plan data.

    Raises:
        OSError: The file cannot be written.
    """
    import json  # only when an image is built

    content = {"version": __version__, "text": text, "plan": plan}
    replace_file(path, json.dumps(content).encode(), 0o600)


def _parse_json(text: str) -> object:
    """Return the value of a JSON text.

    Raises:
        ValueError: The text is not JSON.
    """
    from _json import make_scanner  # CPython's, without `json` around it

    try:
        value, end = make_scanner(_JsonOptions)(text, 0)  # type: ignore[arg-type] # it only reads these attributes
    except StopIteration:
        raise ValueError("not JSON") from None
    if text[end:].strip():
        raise ValueError("text after the JSON value")
    parsed: object = value
    return parsed


def _is_trusted(info: os.stat_result) -> bool:
    return info.st_uid in (0, os.geteuid()) and not info.st_mode & WRITABLE_BY_OTHERS
