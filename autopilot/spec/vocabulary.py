"""Define the words of a job spec that rules and compilers share."""

from __future__ import annotations

SIGNAL_SOURCES = ("SIGHUP", "SIGUSR2")  # signals to the supervisor that a job may wait for
TELEMETRY_NAME = "containerpilot"  # under which ContainerPilot registers its telemetry
SUPERVISOR_SOURCES = ("", "autopilot", "containerpilot", "global")  # names of the supervisor as a source of events

STOP_EVENTS = ("stopping", "stopped", "shutdown")  # a job that waits for one of them runs because of a stop

AGENT_JOB_NAME = "consul-agent"  # the job that the section consul_agent adds
BATCH_WORD = "batch"  # value of `lifetime.within`
LOCK_BEFORE_LIFETIME = "lifetime"  # value of a lock's `before` that names the container's end instead of a job

# Environment variables whose values are secrets, with wildcards
SECRET_NAMES = ("*TOKEN*", "*SECRET*", "*PASSWORD*", "*PASSWD*", "*CREDENTIAL*", "*API_KEY*", "*PRIVATE_KEY*")

# Facilities of syslog by name, with their numbers (RFC 5424)
FACILITIES = {
    "kern": 0, "user": 1, "mail": 2, "daemon": 3, "auth": 4, "syslog": 5, "lpr": 6, "news": 7, "uucp": 8, "cron": 9,
    "authpriv": 10, "ftp": 11, **{f"local{number}": 16 + number for number in range(8)},
}  # fmt: skip
