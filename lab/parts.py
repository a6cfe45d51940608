"""Which real parts of the outside world this machine can have, and in one sentence why not."""

from __future__ import annotations

import functools
import os
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

from lab import consul, docker, faults, packages, prometheus, rootfs, systemd
from lab.cache import workplace
from lab.errors import LabError


@functools.cache
def reason(part: str) -> str | None:
    """Why this machine cannot have the part; None when it has it. What can be installed or built, is."""
    try:
        PARTS[part]()
    except LabError as error:
        return str(error)
    return None


def need_root() -> None:
    if os.geteuid() != 0:
        raise LabError("this is not root")


def need_namespaces() -> None:
    """By doing it: containers and hardened kernels refuse in many ways."""
    need_root()
    packages.need("unshare", "nsenter", "ip")
    with workplace() as folder:
        for name in ("upper", "work", "root"):
            (folder / name).mkdir()
        options = f"lowerdir=/etc,upperdir={folder}/upper,workdir={folder}/work"
        done = subprocess.run(
            [
                *("unshare", "--mount", "--pid", "--fork", "--uts", "--net", "--ipc"),
                *("mount", "-t", "overlay", "-o", options, "overlay", f"{folder}/root"),
            ],
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode != 0:
        raise LabError(f"namespaces or overlay mounts are refused here ({done.stderr.strip()})")


def need_htcondor() -> None:
    """A pool in namespaces, for which the Debian tree is built."""
    need_namespaces()
    packages.need("mmdebstrap")
    rootfs.condor_tree()


def need_docker() -> None:
    need_root()
    if not docker.Engine(None).answers():
        packages.need("dockerd", "unshare", "setpriv")
        with docker.runner():
            pass
    packages.need("mmdebstrap")
    rootfs.slim_tar()


def need_consul() -> None:
    consul.program()


def need_prometheus() -> None:
    prometheus.program(prometheus.WITH_CONSUL)
    prometheus.program(prometheus.WITH_HTTP)


def need_podman() -> None:
    need_root()
    packages.need("podman", "runc", "busybox")


def need_registry() -> None:
    packages.need("docker-registry", "busybox")


def need_systemd() -> None:
    """As PID 1 of a container."""
    need_docker()
    if not any(Path(folder, "cgroup.procs").exists() for folder in systemd.CGROUPS):
        raise LabError("this machine has no unified cgroups, which systemd needs")
    systemd.tree()


def need_fuse() -> None:
    """A file system that hangs, mounted and let go."""
    need_root()
    with workplace() as folder, faults.hanging_mount(folder):
        pass


PARTS: Mapping[str, Callable[[], None]] = {
    "root": need_root,
    "namespaces": need_namespaces,
    "htcondor": need_htcondor,
    "docker": need_docker,
    "consul": need_consul,
    "prometheus": need_prometheus,
    "podman": need_podman,
    "registry": need_registry,
    "systemd": need_systemd,
    "faketime": lambda: packages.need("faketime"),
    "cron": lambda: packages.need("cron"),
    "fuse": need_fuse,
}
