"""Choose the state directory: its default depends on the environment and the user."""

from __future__ import annotations

import os

ROOT_STATE_DIRECTORY = "/var/lib/autopilot"


def choose_state_directory(planned: str | None) -> str:
    """Return the spec's `state`, else $AUTOPILOT_STATE, else the system's directory, or the user's when not root."""
    configured = planned or os.environ.get("AUTOPILOT_STATE")
    if configured:
        return configured
    if os.geteuid() == 0:
        return ROOT_STATE_DIRECTORY
    home = os.environ.get("XDG_STATE_HOME") or os.path.join(os.environ.get("HOME", "/tmp"), ".local/state")
    return os.path.join(home, "autopilot")
