"""autopilot restart JOB..."""

from __future__ import annotations

from autopilot.cli.jobs import job_verb

command = job_verb("restart", "Restart the named jobs.")
