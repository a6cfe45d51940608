"""Compiled plans: what validation made of a config, kept beside it like Python keeps its .pyc, so that a start is
quick.

It is marshalled, as a .pyc is: that costs a start no import. A cache is used only if it was made by this version
from exactly this text, templates filled in; so it can be stale but never wrong. `autopilot check --compile` writes
one beside the config (an image is built with it); a start without one writes its own into the state directory. The
supervisor reads configs as the user it runs as, and a cache is as trusted as the config: one that others may write
is not used.
"""

from __future__ import annotations

import marshal
import os

from autopilot import __version__


def get_path_beside(config: str) -> str:
    return config + ".plan"


def get_path_in_state(state: str, config: str) -> str:
    """One file for each config: two supervisors of one machine do not evict each other's."""
    return os.path.join(state, os.path.abspath(config).replace("/", "%") + ".plan")


def find(text: str, *paths: str) -> dict[str, object] | None:
    """The plan data compiled from `text`, from the first of `places` that has it."""
    for path in paths:
        try:
            with open(path, "rb") as file:
                if not _is_trusted(os.fstat(file.fileno())):
                    continue
                kept = marshal.load(file)
        except (OSError, ValueError, EOFError, TypeError):
            continue
        if isinstance(kept, dict) and kept.get("version") == __version__ and kept.get("text") == text:
            plan: dict[str, object] = kept["plan"]
            return plan
    return None


def write(path: str, text: str, plan: dict[str, object]) -> None:
    """Raises OSError. The file is whole or absent, and as private as a config with secrets must be."""
    temporary = f"{path}.{os.getpid()}.tmp"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with open(descriptor, "wb") as file:
        marshal.dump({"version": __version__, "text": text, "plan": plan}, file)
    os.replace(temporary, path)


def _is_trusted(info: os.stat_result) -> bool:
    writable_by_others = 0o022
    return info.st_uid in (0, os.geteuid()) and not info.st_mode & writable_by_others
