"""Define the reasons for a slot's state: a stable code for machines and metrics, a sentence for people."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Reason:
    """Reason for the present state of a slot."""

    code: str
    sentence: str


# Each code with its meaning. Lost slot-seconds are counted under the codes of slots without a container.
REASON_CODES = {
    "running": "a container runs",
    "unhealthy": "its container runs, but the engine's health check of it fails",
    "draining": "its container takes no new work and ends by itself",
    "stopping": "the engine is removing or restarting its container, or tells nothing usable about it",
    "paused-container": "somebody paused its container in the engine; it is left alone",
    "starting": "a container is about to be started",
    "preparing": "the image is being pulled, verified or pre-flighted first",
    "backoff": "its last lives were short or failed; the next start waits",
    "host-backoff": "lives fail on the whole host; the next start waits",
    "resource-busy": "a container of an earlier configuration still has the slot's place, port, folder or device",
    "no-image": "no digest may be started",
    "host-unfit": "the host is not fit: disk, load, mounts or clock",
    "engine-unknown": "the engine does not answer, so nothing is known",
    "paused": "the operator paused the watchdog",
    "unremovable": "its dead container cannot be removed, so nothing is started beside it",
    "cordoned": "the operator keeps the slot or the host empty, see `uncordon`",
    "surplus": "its container runs, but the configuration has no such slot any more",
}
