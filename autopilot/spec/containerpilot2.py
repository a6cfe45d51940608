"""Recognize a configuration of ContainerPilot 2, and tell how each of its sections is written for version 3."""

from __future__ import annotations

from typing import Any

from autopilot.spec.findings import Finding

# The sections of version 2 that version 3 does not have, and their forms there.
_SECTIONS = {
    "preStart": 'a job, and `when: {source: "preStart", once: "exitSuccess"}` in the jobs that wait for it',
    "onStart": 'a job, and `when: {source: "onStart", once: "exitSuccess"}` in the jobs that wait for it',
    "services": "jobs with name, port and health: {exec, interval, ttl}, where poll is now interval",
    "backends": "watches: [{name, interval}], where poll is now interval, and for each onChange a job with "
    'when: {source: "watch.NAME", each: "changed"}',
    "coprocesses": 'jobs with restarts, such as "unlimited"',
    "tasks": "jobs with when: {interval}, where frequency is now interval, and timeout",
    "preStop": 'a job with when: {source: "MAIN", once: "stopping"}',
    "postStop": 'a job with when: {source: "MAIN", once: "stopped"}',
    "etcd": "consul; there is no other registry",
}
_SENSORS = "telemetry.sensors: telemetry.metrics, and for each check a job with when: {interval} that runs -putmetric"
_SIGNS = _SECTIONS.keys() - {"etcd"}  # etcd alone is no sign


def find_containerpilot2(tree: Any) -> Finding | None:
    """Return the one problem of a configuration of ContainerPilot 2; None for any other tree."""
    if not isinstance(tree, dict) or "jobs" in tree or not _SIGNS & tree.keys():
        return None
    forms = [f"{key}: {_SECTIONS[key]}" for key in tree if key in _SECTIONS]
    telemetry = tree.get("telemetry")
    if isinstance(telemetry, dict) and "sensors" in telemetry:
        forms.append(_SENSORS)
    first = next(key for key in tree if key in _SECTIONS)
    message = (
        "cannot be used: this is a configuration of ContainerPilot 2; for version 3 run "
        "`autopilot convert FILE -- MAIN-COMMAND`, which writes the main command as a job MAIN, and " + "; ".join(forms)
    )
    return Finding((first,), message, at_key=True)
