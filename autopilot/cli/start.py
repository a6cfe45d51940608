"""autopilot start JOB..."""

from __future__ import annotations

from autopilot.cli.jobs import job_verb

command = job_verb("start", "Start the named jobs.")
