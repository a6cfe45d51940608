"""Set metrics that the job spec declares."""

from __future__ import annotations

from autopilot.cli.setting_verbs import build_settings_command

command = build_settings_command(
    "metric",
    "Add to a counter, set a gauge, or observe a value of a histogram or summary of telemetry.metrics.",
    "/v1/metrics",
)
