"""Run a real HTCondor pool on this machine without Docker: a manager and workers, each in its own namespaces.

    with Pool() as pool:
        worker = pool.start_worker(["autopilot", "run", "/etc/autopilot.json5"], files={"/etc/autopilot.json5": text})
        pool.wait_until(pool.list_slots, 20, "the worker joins")
        job = pool.submit(5)
        pool.wait_until(lambda: pool.get_job_status(job) == "Running", 20)
        worker.wait(60)

The manager's network contains a bridge; a worker's card is the other end of a cable to it. All names are in
/etc/hosts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Self

from lab import pool_settings
from lab.cache import create_run_folder
from lab.debian_trees import build_condor_tree
from lab.host_network import HostNetwork
from lab.lab_host import Host
from lab.schedd import Schedd


class Pool(Schedd):
    """Pool whose manager runs inside the `with` block; `start_worker` adds workers. All is removed at the end."""

    def __init__(self, build_tree: Callable[[], Path] = build_condor_tree) -> None:
        """Set up a pool whose hosts run a Debian with HTCondor, and possibly with more, which `build_tree` returns."""
        self._build_tree = build_tree

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            folder = stack.enter_context(create_run_folder())
            self._network = HostNetwork(stack, folder, self._build_tree())
            self._create_manager()
            self.start_manager()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    @property
    def workers(self) -> list[Host]:
        """The workers in the order of their start."""
        return self._network.workers

    def format_owner(self, user: str) -> str:
        """Return the mount options that give a tmpfs to a user of the hosts, as `uid=100,gid=101`."""
        uid, gid = (self.manager.run(["id", option, user]).strip() for option in ("-u", "-g"))
        return f"uid={uid},gid={gid}"

    def run_on_manager(self, *argv: str, user: str = "root", stdin: str = "", check: bool = True) -> str:
        """Run a command on the manager and return its standard output."""
        return self.manager.run(argv, user=user, stdin=stdin, check=check)

    # -- the manager ---------------------------------------------------------------------------------------------------

    def _create_manager(self) -> None:
        self.manager = self._network.start_manager({pool_settings.SITE_CONFIG_PATH: pool_settings.MANAGER_CONFIG})
        self.manager.run(pool_settings.MANAGER_SETUP_SCRIPT)

    def start_manager(self) -> None:
        """Start the manager's daemons and wait until they would match a job."""
        self.manager.run(["condor_master"])
        self.wait_until(self.is_manager_up, 60, "the manager is up")

    def stop_manager(self) -> None:
        """Kill the manager's daemons at once, as a crash does. The network stays."""
        for name in ("condor_master", "condor_collector", "condor_negotiator", "condor_schedd", "condor_shared_port"):
            if self.manager.find_processes(name):
                self.manager.signal_processes(name)

    # -- workers -------------------------------------------------------------------------------------------------------

    def start_worker(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        files: Mapping[str, str | bytes] | None = None,
        disks: Mapping[str, str] | None = None,
        token: str | None = None,
        token_path: str = pool_settings.TOKEN_PATH,
        connected: bool = True,
        more_layers: Sequence[Path] = (),
    ) -> Host:
        """Start a worker and return its host.

        Args:
            argv: the worker's PID 1; `autopilot` is this checkout's, copied at the first call.
            env: further variables of its environment.
            files: path inside -> content, written before the start.
            disks: mount point inside -> tmpfs options, or a folder of this machine as a volume.
            token: content of the token file; None creates a valid one, "" leaves the worker without any.
            token_path: path of the token file.
            connected: False leaves the network cable unplugged.
            more_layers: folders with further programs, below the shared tree.
        """
        token = self.create_token() if token is None else token
        host = self._network.create_worker(
            argv,
            env={"CONDOR_HOST": pool_settings.CONDOR_HOST, **(env or {})},
            files=files or {},
            disks=disks,
            more_layers=more_layers,
        )
        if token:
            host.write_file(token_path, token, mode=0o600)
        self._network.connect(host, link_up=connected)
        host.start_command()
        return host
