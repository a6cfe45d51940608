"""Run Debian's services in containers on a network of their own, with a real Consul: web servers, databases, clients.

    with ServiceNetwork() as network:
        web = network.start_host("web-1", ["autopilot", "run", "/etc/web.json5"], files={"/etc/web.json5": text})
        network.wait_until(lambda: network.list_addresses("web"), 20, "the server is in the catalogue")

The bridge of the network is in the host of Consul; the card of each other host is the other end of a cable to it. All
names are in /etc/hosts, and a host that is started again under its name has its address again.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Self

from lab.cache import compute_cache_key, create_run_folder, get_or_build
from lab.consul_agents import CONSUL_PACKAGE
from lab.debian_trees import CONDOR_PACKAGES, SUITE, build_debian_tree
from lab.debs import get_unpacked_package
from lab.host_network import BRIDGE_ADDRESS
from lab.lab_host import DiskLayout, Host
from lab.overlay_layer import build_dependency_layer, build_source_layer
from lab.polling import wait_until

SERVICE_PACKAGES = tuple(
    sorted((*CONDOR_PACKAGES, "globus-proxy-utils", "haproxy", "nginx", "openssh-server", "redis-server", "rsyslog"))
)
NETWORK_PREFIX = "10.78.0"
CONSUL_NAME = "consul"
CONSUL_ADDRESS = f"{NETWORK_PREFIX}.1"
HOST_NAMES = ("balancer", "client", "db-1", "db-2", "web-1", "web-2")


def build_service_tree() -> Path:
    """Return an unpacked Debian with the programs of all examples that run services: one tree, so one download."""
    return get_or_build(
        f"services-{compute_cache_key(SUITE, SERVICE_PACKAGES)}",
        lambda part: build_debian_tree(part, SERVICE_PACKAGES, "directory"),
    )


def compute_address(name: str) -> str:
    """Return the address of a host of HOST_NAMES."""
    return f"{NETWORK_PREFIX}.{HOST_NAMES.index(name) + 2}"


def _format_hosts_file() -> str:
    names = "".join(f"{compute_address(name)} {name}\n" for name in HOST_NAMES)
    return f"127.0.0.1 localhost\n{CONSUL_ADDRESS} {CONSUL_NAME}\n{names}"


class ServiceNetwork:
    """Network whose Consul runs inside the `with` block; `start_host` adds hosts. All is removed at the end."""

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._stack = stack
            self._folder = stack.enter_context(create_run_folder())
            self._debian_tree = build_service_tree()
            self._layers: list[Path] = []
            self.hosts: list[Host] = []
            self._start_consul()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    def _start_consul(self) -> None:
        agent = ["consul", "agent", "-dev", "-bind", CONSUL_ADDRESS, "-client", "0.0.0.0", "-log-level", "warn"]
        layers = [get_unpacked_package(CONSUL_PACKAGE), self._debian_tree]
        self.consul = Host(
            CONSUL_NAME, agent, tree=DiskLayout(layers=layers, writable_folder=self._folder / CONSUL_NAME)
        )
        self._stack.callback(self.consul.stop)
        self.consul.run_ip("link", "set", "lo", "up")
        self.consul.run_ip("link", "add", "eth0", "address", BRIDGE_ADDRESS, "type", "bridge")
        self.consul.run_ip("address", "add", f"{CONSUL_ADDRESS}/24", "dev", "eth0")
        self.consul.run_ip("link", "set", "eth0", "up")
        self.consul.start_command()
        self.wait_until(lambda: self._ask_consul("/v1/status/leader"), 60, "Consul has a leader")

    def start_host(
        self,
        name: str,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        files: Mapping[str, str | bytes] | None = None,
        programs: Mapping[str, str] | None = None,
    ) -> Host:
        """Start a host and return it. A host of this name that has ended is replaced: its disk is a new one.

        Args:
            name: one of HOST_NAMES.
            argv: the host's PID 1; `autopilot` is this checkout's, copied at the first call.
            env: further variables of its environment.
            files: path inside -> content, written before the start.
            programs: path inside -> text of an executable script, written before the start.
        """
        if not self._layers:
            source = build_source_layer(self._debian_tree, self._folder / "source")
            self._layers = [source, build_dependency_layer(self._debian_tree), self._debian_tree]
        tree = DiskLayout(
            layers=self._layers,
            writable_folder=self._folder / f"host{len(self.hosts)}",
            files={"/etc/hosts": _format_hosts_file(), **(files or {})},
        )
        consul = {"CONSUL_HTTP_ADDR": f"{CONSUL_ADDRESS}:8500"}
        host = Host(name, argv, tree=tree, env={"AUTOPILOT_STATE": "/var/lib/autopilot", **consul, **(env or {})})
        self._stack.callback(host.stop)
        for path, text in (programs or {}).items():
            host.write_file(path, text, mode=0o755)
        self._connect_to_bridge(host, f"cable{len(self.hosts)}")
        self.hosts.append(host)
        host.start_command()
        return host

    def _connect_to_bridge(self, host: Host, cable: str) -> None:
        host.run_ip("link", "set", "lo", "up")
        self.consul.run_ip("link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", str(host.pid))
        self.consul.run_ip("link", "set", cable, "master", "eth0", "up")
        host.run_ip("address", "add", f"{compute_address(host.name)}/24", "dev", "eth0")
        host.set_link_state("up")

    # -- look ----------------------------------------------------------------------------------------------------------

    def list_addresses(self, service: str) -> list[str]:
        """Return the addresses of the instances of a service that Consul lists as healthy."""
        answer = self._ask_consul(f"/v1/health/service/{service}?passing")
        return sorted(entry["Service"]["Address"] for entry in json.loads(answer or "[]"))

    def list_registered(self, service: str) -> list[str]:
        """Return the addresses of all registered instances of a service, healthy or not."""
        answer = self._ask_consul(f"/v1/catalog/service/{service}")
        return sorted(entry["ServiceAddress"] for entry in json.loads(answer or "[]"))

    def _ask_consul(self, path: str) -> str:
        answer = self.consul.run(["curl", "--silent", "--fail", f"http://127.0.0.1:8500{path}"], check=False)
        return "" if answer.strip() == '""' else answer

    wait_until = staticmethod(wait_until)


def start_script(host: Host, script: Path, *words: str) -> subprocess.Popen[str]:
    """Start a script of Python on a host, by the host's own Python, and return its process.

    Args:
        host: The host. The script ends with it.
        script: A file of this machine that needs only the standard library. It ends when its standard input does.
        words: Arguments of the script.
    """
    inside = f"/run/{script.name}"
    host.write_file(inside, script.read_text())
    command = host.build_nsenter_command(["python3", "-I", inside, *words])
    return subprocess.Popen(command, env=host.env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
