"""Restart jobs: the verb `restart`."""

from __future__ import annotations

from autopilot.cli.job_verbs import build_job_command

command = build_job_command("restart", "Restart the named jobs, and return when they run again.")
