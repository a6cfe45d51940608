"""Install the lab's system packages from the machine's own apt sources, if this process may."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
from collections.abc import Mapping

from lab.cache import hold_lock
from lab.lab_errors import LabError

# program -> Debian's package
PROGRAM_PACKAGES: Mapping[str, str] = {
    "busybox": "busybox-static",
    "cron": "cron",
    "docker-registry": "docker-registry",
    "dockerd": "docker.io",
    "faketime": "faketime",
    "git": "git",
    "ip": "iproute2",
    "mmdebstrap": "mmdebstrap",
    "nsenter": "util-linux",
    "openssl": "openssl",
    "podman": "podman",
    "runc": "runc",
    "setpriv": "util-linux",
    "skopeo": "skopeo",
    "systemd-cat": "systemd",
    "unshare": "util-linux",
}


def ensure_programs(*programs: str) -> None:
    """Ensure that the programs are on PATH, installing their packages as root.

    Raises:
        LabError: they are missing and cannot be installed; the message gives the remedy.
    """
    missing = sorted({PROGRAM_PACKAGES[program] for program in programs if not shutil.which(program)})
    if missing:
        install(*missing)


def install(*packages: str) -> None:
    """Install Debian packages.

    Raises:
        LabError: this process is not root or has no apt-get, or the installation failed.
    """
    remedy = f"apt-get install {' '.join(packages)}"
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise LabError(f"not installed: {', '.join(packages)} (as root: {remedy})")
    with hold_lock("apt"):  # tests run in parallel, and apt-get update does not wait for a lock
        _run_apt_get("update")
        _run_apt_get("install", "--yes", "--no-install-recommends", *packages)


@functools.cache
def _run_apt_get(*words: str) -> None:
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    done = subprocess.run(
        ["apt-get", "-o", "DPkg::Lock::Timeout=120", "--quiet", "--quiet", *words],
        env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        raise LabError(f"apt-get {' '.join(words)} failed: {done.stdout.strip()[-500:]}")
