"""Change the environment of processes that start from now on."""

from __future__ import annotations

from autopilot.cli.setting_verbs import build_settings_command

command = build_settings_command(
    "env", "Set environment variables of jobs and checks that start from now on; NAME= unsets one.", "/v1/env"
)
