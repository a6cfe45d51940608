"""Take image references apart, such as registry.example.org:5000/site/worker-node:stable."""

from __future__ import annotations

DOCKER_HUB = "registry-1.docker.io"  # the host of Docker Hub's registry
HUB_NAMES = frozenset({"docker.io", "index.docker.io", DOCKER_HUB})  # names of Docker Hub in references and in logins


def get_repository(reference: str) -> str:
    """Return the reference without tag and digest."""
    name = reference.partition("@")[0]
    head, slash, last = name.rpartition("/")
    return f"{head}{slash}{last.partition(':')[0]}"


def get_tag(reference: str) -> str:
    """Return the reference's tag; "latest" if it has none."""
    return reference.partition("@")[0].rpartition("/")[2].partition(":")[2] or "latest"


def split_host_and_path(reference: str) -> tuple[str, str]:
    """Return the registry's host and the repository's path there, by Docker's rules for host names.

    So `docker.io/library/x`, `docker.io/x`, `index.docker.io/x` and `x` are one repository of Docker Hub.
    """
    name = get_repository(reference)
    first, slash, rest = name.partition("/")
    if slash and first not in HUB_NAMES and ("." in first or ":" in first or first == "localhost"):
        return first, rest
    path = rest if slash and first in HUB_NAMES else name
    return DOCKER_HUB, path if "/" in path else f"library/{path}"
