"""Debian trees built with mmdebstrap from this machine's own mirror: what hosts and base images are made of."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from lab.cache import built, key
from lab.errors import LabError

SUITE = "trixie"
SLIM = ("ca-certificates",)  # the base image: what debian:trixie-slim is, and the machine's CA bundle
CONDOR = ("ca-certificates", "condor", "curl", "iproute2", "procps", "python3", "python3-venv")
CA_BUNDLE = Path("/etc/ssl/certs/ca-certificates.crt")
APT = Path("/etc/apt")


def mirror(apt: Path = APT) -> str | None:
    """The Debian mirror this machine's own apt uses; None when it uses none."""
    for uri in _archive_uris(apt):
        if re.fullmatch(r"\S+/debian/?", uri):
            return uri.rstrip("/")
    return None


def _archive_uris(apt: Path) -> Iterator[str]:
    for file in sorted(apt.glob("sources.list.d/*.sources")):
        for line in re.findall(r"(?m)^URIs:(.*)$", file.read_text()):
            yield from line.split()
    for file in [apt / "sources.list", *sorted(apt.glob("sources.list.d/*.list"))]:
        if file.exists():
            yield from re.findall(r"(?m)^deb\s+(?:\[[^]]*\]\s+)?(\S+)", file.read_text())


def condor_tree() -> Path:
    """An unpacked Debian with HTCondor and Python: the shared, read-only part of every host's disk."""
    return built(f"condor-{key(SUITE, CONDOR)}", lambda part: bootstrap(part, CONDOR, "directory"))


def slim_tar() -> Path:
    """The stand-in for the image debian:trixie-slim, for engines that cannot pull: a tar for `docker import`."""
    return built(f"slim-{key(SUITE, SLIM)}.tar", lambda part: bootstrap(part, SLIM, "tar"))


def bootstrap(target: Path, packages: tuple[str, ...], form: str) -> None:
    source = mirror()
    if source is None:
        raise LabError("cannot build a Debian tree: no Debian mirror in this machine's apt sources")
    if not shutil.which("mmdebstrap"):
        raise LabError("cannot build a Debian tree: mmdebstrap is not installed (apt-get install mmdebstrap)")
    command = [
        "mmdebstrap",
        "--variant=minbase",
        f"--format={form}",
        f"--include={','.join(packages)}",
        # dead name servers make every daemon wait; a container engine brings its own file
        '--customize-hook=: > "$1/etc/resolv.conf"',
    ]
    if CA_BUNDLE.exists():  # a machine behind a proxy of its own trusts more than Debian does
        command.append(f'--customize-hook=cp {CA_BUNDLE} "$1{CA_BUNDLE}"')
    done = subprocess.run(
        [*command, SUITE, str(target), f"deb {source} {SUITE} main"], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise LabError(f"cannot build a Debian tree with mmdebstrap: {done.stderr.strip()[-2000:]}")
    if target.is_dir():
        target.chmod(0o755)
