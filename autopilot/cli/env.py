"""autopilot env: change what processes that start from now on find in their environment."""

from __future__ import annotations

from autopilot.cli.settings import settings_verb

command = settings_verb(
    "env", "Set environment variables of jobs and checks that start from now on; NAME= unsets one.", "/v1/env"
)
