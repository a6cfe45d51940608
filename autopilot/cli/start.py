"""Start jobs: the verb `start`."""

from __future__ import annotations

from autopilot.cli.job_verbs import build_job_command

command = build_job_command("start", "Start the named jobs, and return when they run.")
