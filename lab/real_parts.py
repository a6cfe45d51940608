"""Decide for each real part of the outside world if this machine can have it, and say in one sentence why not."""

from __future__ import annotations

import functools
import importlib.util
import os
import socket
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

from lab import (
    alertmanager_server,
    consul_agents,
    debian_trees,
    docker_engine,
    faults,
    journal_namespace,
    node_exporter,
    prometheus_server,
    rootless_podman,
    syslog_servers,
    system_packages,
    systemd_container,
)
from lab.cache import create_run_folder
from lab.lab_errors import LabError


@functools.cache
def explain_unavailable(part: str) -> str | None:
    """Return the reason this machine cannot have the part; None if it can. Installs and builds as needed."""
    try:
        PARTS[part]()
    except LabError as error:
        return str(error)
    return None


def require_root() -> None:
    """Raise LabError unless this process is root."""
    if os.geteuid() != 0:
        raise LabError("this is not root")


def require_namespaces() -> None:
    """Raise LabError unless namespaces and overlay mounts work. Tries them: kernels refuse in many ways."""
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
    """Raise LabError unless a pool in namespaces can run; builds its Debian tree."""
    require_namespaces()
    system_packages.ensure_programs("mmdebstrap")
    debian_trees.build_condor_tree()


def require_slurm() -> None:
    """Raise LabError unless a Slurm cluster in namespaces can run; builds its Debian tree."""
    require_namespaces()
    system_packages.ensure_programs("mmdebstrap", "setpriv")
    tree = debian_trees.build_condor_tree()
    missing = [name for name in ("slurmctld", "slurmd", "munged") if not (tree / "usr/sbin" / name).exists()]
    if missing:
        raise LabError(f"the Debian tree has no {', '.join(missing)}")


def require_docker() -> None:
    """Raise LabError unless a Docker engine answers or can be started, and images can be built."""
    require_root()
    if not docker_engine.Engine(None).is_reachable():
        system_packages.ensure_programs("dockerd", "unshare", "setpriv")
        with docker_engine.open_container_engine():
            pass
    system_packages.ensure_programs("mmdebstrap")
    debian_trees.build_slim_tar()


def require_bindings() -> None:
    """Raise LabError unless HTCondor's Python bindings are installed."""
    if importlib.util.find_spec("htcondor2") is None:
        raise LabError("HTCondor's Python bindings are not installed: pip install htcondor")


def require_consul() -> None:
    """Raise LabError unless the Consul program can be found or unpacked."""
    consul_agents.find_program()


def require_prometheus() -> None:
    """Raise LabError unless both builds of Prometheus can be unpacked."""
    prometheus_server.find_program(prometheus_server.WITH_CONSUL)
    prometheus_server.find_program(prometheus_server.WITH_HTTP)


def require_alerting() -> None:
    """Raise LabError unless Alertmanager and node-exporter can be unpacked, and a namespace made for the first."""
    require_namespaces()
    alertmanager_server.get_tree()
    node_exporter.find_program()


def require_journald() -> None:
    """Raise LabError unless journald can run in a namespace."""
    require_namespaces()
    journal_namespace.require_journald()


def require_podman() -> None:
    """Raise LabError unless Podman and runc are installed or can be."""
    require_root()
    system_packages.ensure_programs("podman", "runc", "busybox")


def require_registry() -> None:
    """Raise LabError unless the registry is installed or can be."""
    system_packages.ensure_programs("docker-registry", "busybox")


def require_systemd() -> None:
    """Raise LabError unless systemd can be PID 1 of a container."""
    require_docker()
    if not any(Path(folder, "cgroup.procs").exists() for folder in systemd_container.CGROUP_FOLDERS):
        raise LabError("this machine has no unified cgroups, which systemd needs")
    systemd_container.build_systemd_tar()


def require_fuse() -> None:
    """Raise LabError unless a FUSE file system can be mounted."""
    require_root()
    with create_run_folder() as folder, faults.mount_hanging_filesystem(folder):
        pass


def require_ipv6() -> None:
    """Raise LabError unless a socket can listen on the IPv6 loopback address."""
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError as error:
        raise LabError(f"nothing can listen on ::1 here ({error.strerror})") from None


def require_network_address() -> None:
    """Raise LabError unless an interface other than the loopback has an IPv4 address: the kernel routes its network."""
    interfaces = {line.split()[0] for line in Path("/proc/net/route").read_text().splitlines()[1:]}
    if not interfaces - {"lo"}:
        raise LabError("this machine has no address beside its loopback")


def require_syslog() -> None:
    """Raise LabError unless rsyslog and syslog-ng can be unpacked."""
    require_root()
    system_packages.ensure_programs("mmdebstrap", "openssl")
    for server in syslog_servers.PACKAGES:
        syslog_servers.build_tree(server)


PARTS: Mapping[str, Callable[[], None]] = {
    "ipv6": require_ipv6,
    "network-address": require_network_address,
    "root": require_root,
    "namespaces": require_namespaces,
    "htcondor": require_htcondor,
    "slurm": require_slurm,
    "bindings": require_bindings,
    "docker": require_docker,
    "consul": require_consul,
    "prometheus": require_prometheus,
    "alerting": require_alerting,
    "podman": require_podman,
    "rootless-podman": rootless_podman.require_rootless_podman,
    "registry": require_registry,
    "syslog": require_syslog,
    "systemd": require_systemd,
    "faketime": lambda: system_packages.ensure_programs("faketime"),
    "cron": lambda: system_packages.ensure_programs("cron"),
    "fuse": require_fuse,
    "journald": require_journald,
    "git": lambda: system_packages.ensure_programs("git"),
    "openssl": lambda: system_packages.ensure_programs("openssl"),
    "skopeo": lambda: system_packages.ensure_programs("skopeo"),
}
