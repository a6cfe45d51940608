"""Read and write compiled plans: the result of validating a config, kept so that the next start is quick.

A plan is marshalled, as Python's .pyc files are: reading it needs no import. It is used only if it was made by this
version from exactly this text, templates filled in; so it can be stale but never wrong. `autopilot check --compile`
writes one beside the config (an image is built with it); a start without one writes its own into the state directory.
The supervisor reads configs as the user it runs as, and a compiled plan is as trusted as the config: one that others
may write is not used.
"""

from __future__ import annotations

import marshal
import os

from autopilot import __version__


def get_path_beside(config: str) -> str:
    """Return the path of the compiled plan beside the config."""
    return config + ".plan"


def get_path_in_state(state: str, config: str) -> str:
    """Return the path of the compiled plan in the state directory, a different one for each config."""
    return os.path.join(state, os.path.abspath(config).replace("/", "%") + ".plan")


def find(text: str, *paths: str) -> dict[str, object] | None:
    """Return the plan data compiled from `text`, from the first of `paths` that has it; None when none has it."""
    for path in paths:
        try:
            with open(path, "rb") as file:
                if not _is_trusted(os.fstat(file.fileno())):
                    continue
                content = marshal.load(file)
        except (OSError, ValueError, EOFError, TypeError):
            continue
        if isinstance(content, dict) and content.get("version") == __version__ and content.get("text") == text:
            plan: dict[str, object] = content["plan"]
            return plan
    return None


def write(path: str, text: str, plan: dict[str, object]) -> None:
    """Write a compiled plan: the file is whole or absent, and as private as a config with secrets must be.

    Args:
        path: The file.
        text: The config's text, templates filled in.
        plan: The plan data.

    Raises:
        OSError: The file cannot be written.
    """
    temporary = f"{path}.{os.getpid()}.tmp"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with open(descriptor, "wb") as file:
        marshal.dump({"version": __version__, "text": text, "plan": plan}, file)
    os.replace(temporary, path)


def _is_trusted(info: os.stat_result) -> bool:
    writable_by_others = 0o022
    return info.st_uid in (0, os.geteuid()) and not info.st_mode & writable_by_others
