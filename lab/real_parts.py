"""Which real parts of the outside world this machine can have, and in one sentence why not."""

from __future__ import annotations

import functools
import os
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

from lab import (
    consul_agents,
    debian_trees,
    docker_engine,
    faults,
    prometheus_server,
    system_packages,
    systemd_container,
)
from lab.cache import create_run_folder
from lab.lab_errors import LabError


@functools.cache
def explain_unavailable(part: str) -> str | None:
    """Why this machine cannot have the part; None when it has it. What can be installed or built, is."""
    try:
        PARTS[part]()
    except LabError as error:
        return str(error)
    return None


def require_root() -> None:
    if os.geteuid() != 0:
        raise LabError("this is not root")


def require_namespaces() -> None:
    """By doing it: containers and hardened kernels refuse in many ways."""
    require_root()
    system_packages.ensure_programs("unshare", "nsenter", "ip")
    with create_run_folder() as folder:
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


def require_htcondor() -> None:
    """A pool in namespaces, for which the Debian tree is built."""
    require_namespaces()
    system_packages.ensure_programs("mmdebstrap")
    debian_trees.build_condor_tree()


def require_docker() -> None:
    require_root()
    if not docker_engine.Engine(None).is_reachable():
        system_packages.ensure_programs("dockerd", "unshare", "setpriv")
        with docker_engine.open_container_engine():
            pass
    system_packages.ensure_programs("mmdebstrap")
    debian_trees.build_slim_tar()


def require_consul() -> None:
    consul_agents.find_program()


def require_prometheus() -> None:
    prometheus_server.find_program(prometheus_server.WITH_CONSUL)
    prometheus_server.find_program(prometheus_server.WITH_HTTP)


def require_podman() -> None:
    require_root()
    system_packages.ensure_programs("podman", "runc", "busybox")


def require_registry() -> None:
    system_packages.ensure_programs("docker-registry", "busybox")


def require_systemd() -> None:
    """As PID 1 of a container."""
    require_docker()
    if not any(Path(folder, "cgroup.procs").exists() for folder in systemd_container.CGROUP_FOLDERS):
        raise LabError("this machine has no unified cgroups, which systemd needs")
    systemd_container.build_systemd_tar()


def require_fuse() -> None:
    """A file system that hangs, mounted and let go."""
    require_root()
    with create_run_folder() as folder, faults.mount_hanging_filesystem(folder):
        pass


PARTS: Mapping[str, Callable[[], None]] = {
    "root": require_root,
    "namespaces": require_namespaces,
    "htcondor": require_htcondor,
    "docker": require_docker,
    "consul": require_consul,
    "prometheus": require_prometheus,
    "podman": require_podman,
    "registry": require_registry,
    "systemd": require_systemd,
    "faketime": lambda: system_packages.ensure_programs("faketime"),
    "cron": lambda: system_packages.ensure_programs("cron"),
    "fuse": require_fuse,
}
