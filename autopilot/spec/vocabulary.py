"""Define the words of a job spec that rules and compilers share."""

from __future__ import annotations

SIGNAL_SOURCES = ("SIGHUP", "SIGUSR2")  # signals to the supervisor that a job may wait for
TELEMETRY_NAME = "containerpilot"  # under which ContainerPilot registers its telemetry
SUPERVISOR_SOURCES = ("", "autopilot", "containerpilot", "global")  # names of the supervisor as a source of events

AGENT_JOB_NAME = "consul-agent"  # the job that the section consul_agent adds
LOCK_BEFORE_LIFETIME = "lifetime"  # value of a lock's `before` that names the container's end instead of a job
