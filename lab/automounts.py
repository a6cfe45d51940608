"""Provide Debian's automounter and a small FUSE file system, as a layer over a host's tree."""

from __future__ import annotations

from pathlib import Path

from lab.cache import compute_cache_key, get_or_build
from lab.debian_trees import SUITE, extract_packages

PACKAGES = ("autofs", "bindfs")


def build_automount_layer() -> Path:
    """Return a folder with `automount` and `bindfs`, and all that they need, of the release of the hosts' trees."""
    return get_or_build(
        f"automounts-{compute_cache_key(SUITE, PACKAGES)}", lambda part: extract_packages(part, PACKAGES)
    )
