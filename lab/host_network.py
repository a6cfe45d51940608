"""Connect hosts of the lab: a manager whose network contains a bridge, and workers with a cable to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from lab import pool_settings
from lab.lab_host import DiskLayout, Host
from lab.overlay_layer import build_dependency_layer, build_source_layer

# A bridge without an address of its own takes that of one of its cables. When that cable comes or goes, the other hosts
# send to an address that nobody has, until they look it up again up to a minute later.
BRIDGE_ADDRESS = "02:00:00:00:00:01"


class HostNetwork:
    """A manager and workers over one Debian tree. All names are in /etc/hosts; `stack` removes every host."""

    def __init__(self, stack: ExitStack, folder: Path, debian_tree: Path) -> None:
        """Prepare a network without hosts.

        Args:
            stack: stops the hosts when its contents are closed.
            folder: holds what the hosts write.
            debian_tree: the shared, read-only part of every host's disk.
        """
        # a stack of its own: the owner may move the given one's contents to another before the last host starts
        self._hosts = stack.enter_context(ExitStack())
        self._folder, self._debian_tree = folder, debian_tree
        self._layers: list[Path] = []
        self.workers: list[Host] = []

    def start_manager(self, files: Mapping[str, str | bytes]) -> Host:
        """Start the manager's host, with nothing but a sleep in it; `files` are path inside -> content."""
        files = {"/etc/hosts": pool_settings.format_hosts_file(), **files}
        tree = DiskLayout(
            layers=[self._debian_tree], writable_folder=self._folder / pool_settings.MANAGER_NAME, files=files
        )
        self.manager = Host(pool_settings.MANAGER_NAME, ["sh", "-c", "sleep infinity & wait"], tree=tree)
        self._hosts.callback(self.manager.stop)
        self.manager.run_ip("link", "set", "lo", "up")
        self.manager.run_ip("link", "add", "eth0", "address", BRIDGE_ADDRESS, "type", "bridge")
        self.manager.run_ip("address", "add", f"{pool_settings.compute_address(0)}/24", "dev", "eth0")
        self.manager.run_ip("link", "set", "eth0", "up")
        self.manager.start_command()
        return self.manager

    def create_worker(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str],
        files: Mapping[str, str | bytes],
        disks: Mapping[str, str] | None = None,
        more_layers: Sequence[Path] = (),
    ) -> Host:
        """Create a worker whose command has not started yet; see `Pool.start_worker` for the arguments."""
        number = len(self.workers) + 1
        tree = DiskLayout(
            layers=[*self._build_worker_layers(), *more_layers],
            writable_folder=self._folder / f"worker{number}",
            files={"/etc/hosts": pool_settings.format_hosts_file(), **files},
            disks=disks or {},
        )
        host = Host(f"worker{number}", argv, tree=tree, env=env)
        self._hosts.callback(host.stop)
        self.workers.append(host)
        return host

    def connect(self, host: Host, *, link_up: bool = True) -> None:
        """Connect a worker to the bridge by a cable; `link_up` False leaves it unplugged."""
        address = pool_settings.compute_address(self.workers.index(host) + 1)
        cable = f"to-{host.name}"
        host.run_ip("link", "set", "lo", "up")
        self.manager.run_ip("link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", str(host.pid))
        self.manager.run_ip("link", "set", cable, "master", "eth0", "up")
        host.run_ip("address", "add", f"{address}/24", "dev", "eth0")
        if link_up:
            host.set_link_state("up")

    def _build_worker_layers(self) -> list[Path]:
        if not self._layers:
            source = build_source_layer(self._debian_tree, self._folder / "source")
            self._layers = [source, build_dependency_layer(self._debian_tree), self._debian_tree]
        return self._layers
