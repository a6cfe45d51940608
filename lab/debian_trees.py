"""Build Debian trees with mmdebstrap from this machine's own mirror, for hosts and base images."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from lab.cache import compute_cache_key, get_or_build
from lab.lab_errors import LabError

SUITE = "trixie"
SLIM_PACKAGES = ("ca-certificates",)  # the base image: debian:trixie-slim and a CA bundle
CONDOR_PACKAGES = (
    *("ca-certificates", "condor", "curl", "iproute2", "munge", "procps", "python3", "python3-venv"),
    *("slurm-client", "slurmctld", "slurmd"),
)
CA_BUNDLE = Path("/etc/ssl/certs/ca-certificates.crt")
APT_FOLDER = Path("/etc/apt")


def find_mirror(apt: Path = APT_FOLDER) -> str | None:
    """Return the Debian mirror of this machine's own apt sources; None if they have none."""
    for uri in _read_archive_uris(apt):
        if re.fullmatch(r"\S+/debian/?", uri):
            return uri.rstrip("/")
    return None


def _read_archive_uris(apt: Path) -> Iterator[str]:
    for file in sorted(apt.glob("sources.list.d/*.sources")):
        for line in re.findall(r"(?m)^URIs:(.*)$", file.read_text()):
            yield from line.split()
    for file in [apt / "sources.list", *sorted(apt.glob("sources.list.d/*.list"))]:
        if file.exists():
            yield from re.findall(r"(?m)^deb\s+(?:\[[^]]*\]\s+)?(\S+)", file.read_text())


def build_condor_tree() -> Path:
    """Return an unpacked Debian with HTCondor and Python: the shared, read-only part of every host's disk."""
    return get_or_build(
        f"condor-{compute_cache_key(SUITE, CONDOR_PACKAGES)}",
        lambda part: build_debian_tree(part, CONDOR_PACKAGES, "directory"),
    )


def build_slim_tar() -> Path:
    """Return a tar for `docker import` that replaces the image debian:trixie-slim where engines cannot pull."""
    return get_or_build(
        f"slim-{compute_cache_key(SUITE, SLIM_PACKAGES)}.tar",
        lambda part: build_debian_tree(part, SLIM_PACKAGES, "tar"),
    )


def build_debian_tree(target: Path, packages: tuple[str, ...], output_format: str) -> None:
    """Build a Debian tree with these packages at `target`.

    Args:
        target: path that does not exist yet.
        packages: Debian packages besides the minimal set.
        output_format: `directory` or `tar`.

    Raises:
        LabError: there is no mirror or no mmdebstrap, or the build failed.
    """
    options = [
        "--variant=minbase",
        f"--format={output_format}",
        # unreachable name servers delay every daemon; a container engine brings its own file
        '--customize-hook=: > "$1/etc/resolv.conf"',
    ]
    if CA_BUNDLE.exists():  # a machine behind a proxy may trust more authorities than Debian does
        options.append(f'--customize-hook=cp {CA_BUNDLE} "$1{CA_BUNDLE}"')
    _run_mmdebstrap(target, packages, *options)
    if target.is_dir():
        target.chmod(0o755)


def extract_packages(target: Path, packages: tuple[str, ...]) -> None:
    """Unpack packages with all that they depend on, and configure nothing: programs to run by the tree's own loader.

    Args:
        target: path that does not exist yet.
        packages: Debian packages.

    Raises:
        LabError: there is no mirror or no mmdebstrap, or it failed.
    """
    _run_mmdebstrap(target, packages, "--variant=extract", "--format=directory")


def _run_mmdebstrap(target: Path, packages: tuple[str, ...], *options: str) -> None:
    mirror = find_mirror()
    if mirror is None:
        raise LabError("cannot build a Debian tree: no Debian mirror in this machine's apt sources")
    if not shutil.which("mmdebstrap"):
        raise LabError("cannot build a Debian tree: mmdebstrap is not installed (apt-get install mmdebstrap)")
    source = f"deb {mirror} {SUITE} main"
    done = subprocess.run(
        ["mmdebstrap", *options, f"--include={','.join(packages)}", SUITE, str(target), source],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise LabError(f"cannot build a Debian tree with mmdebstrap: {done.stderr.strip()[-2000:]}")
