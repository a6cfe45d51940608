"""Detect the identity of this container, as the watchdog and the container engine provide it."""

from __future__ import annotations

import re
import socket
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from autopilot.bounded_text import clip_text
from autopilot.process.pseudo_files import read_text

MAX_REASON_CHARS = 120  # Consul takes 512 bytes of metadata, and a character has up to four
_NOT_LOGGED = ("hostname", "image_reason")


@dataclass(frozen=True, slots=True)
class ContainerInfo:
    """Identity of a container; "" where unknown.

    `slot`, `host`, `image_digest`, `container_name`, `channel` (stable or canary; "" in a group without a canary) and
    `image_reason` (the reason for this digest, as a phrase) come from the watchdog.
    """

    slot: str
    host: str
    image_digest: str
    container_name: str
    container_id: str
    hostname: str
    channel: str = ""
    image_reason: str = ""

    def get_log_context(self) -> dict[str, str]:
        """Return the known values, as fields of each line of the log."""
        return {key: value for key, value in asdict(self).items() if value and key not in _NOT_LOGGED}


def detect_container_info(env: Mapping[str, str]) -> ContainerInfo:
    """Return the identity of the container that this process runs in, with each value in bounded length."""
    return ContainerInfo(
        slot=clip_text(env.get("AUTOPILOT_SLOT", "")),
        host=clip_text(env.get("AUTOPILOT_HOST", "")),
        image_digest=clip_text(env.get("AUTOPILOT_IMAGE_DIGEST", "")),
        container_name=clip_text(env.get("AUTOPILOT_CONTAINER_NAME", "")),
        container_id=parse_container_id(read_text("/proc/self/mountinfo")),
        hostname=socket.gethostname(),
        channel=clip_text(env.get("AUTOPILOT_CHANNEL", "")),
        image_reason=clip_text(env.get("AUTOPILOT_IMAGE_REASON", ""), MAX_REASON_CHARS),
    )


def parse_container_id(mountinfo: str) -> str:
    """Return the engine's id of the container, or "" outside of one.

    Docker and Podman bind the container's own /etc/hostname from a directory named by its id.

    Args:
        mountinfo: The text of /proc/self/mountinfo.

    Returns:
        64 hexadecimal digits, or "".
    """
    match = re.search(r"/([0-9a-f]{64})/(?:userdata/)?hostname ", mountinfo)
    return match.group(1) if match else ""
