"""A real HTCondor pool on this machine, without Docker: a manager and workers, each in namespaces of its own.

    with Pool() as pool:
        worker = pool.worker(["autopilot", "run", "/etc/autopilot.json5"], files={"/etc/autopilot.json5": text})
        pool.wait(pool.slots, 20, "the worker joins")
        job = pool.submit(5)
        pool.wait(lambda: pool.job_status(job) == "Running", 20)
        worker.wait(60)

The manager's network holds a bridge; a worker's card is the other end of a cable to it. Names come from /etc/hosts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Self

from lab import settings
from lab.cache import workplace
from lab.host import Host, Tree
from lab.layer import dependency_layer, source_layer
from lab.rootfs import condor_tree
from lab.schedd import Schedd


class Pool(Schedd):
    """The manager runs from the `with` on; `worker()` adds workers. Everything is gone at the end."""

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._stack = stack
            self._folder = stack.enter_context(workplace())
            self._debian = condor_tree()
            self._layers: list[Path] = []
            self.workers: list[Host] = []
            self._make_manager()
            self.start_manager()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    def ask(self, *argv: str, user: str = "root", stdin: str = "", check: bool = True) -> str:
        return self.manager.run(argv, user=user, stdin=stdin, check=check)

    # -- the manager ---------------------------------------------------------------------------------------------------

    def _make_manager(self) -> None:
        files = {"/etc/hosts": settings.hosts_file(), settings.SITE_CONFIG: settings.MANAGER_CONFIG}
        tree = Tree(layers=[self._debian], own=self._folder / settings.MANAGER, files=files)
        self.manager = Host(settings.MANAGER, ["sh", "-c", "sleep infinity & wait"], tree=tree)
        self._stack.callback(self.manager.stop)
        self.manager.ip("link", "set", "lo", "up")
        self.manager.ip("link", "add", "eth0", "type", "bridge")
        self.manager.ip("address", "add", f"{settings.address(0)}/24", "dev", "eth0")
        self.manager.ip("link", "set", "eth0", "up")
        self.manager.go()
        self.manager.run(settings.PREPARE_MANAGER)

    def start_manager(self) -> None:
        """Start the manager's daemons; ready when they would match a job."""
        self.manager.run(["condor_master"])
        self.wait(self.manager_is_up, 60, "the manager is up")

    def stop_manager(self) -> None:
        """Kill the manager's daemons at once, as a crash does. The network stays."""
        for name in ("condor_master", "condor_collector", "condor_negotiator", "condor_schedd", "condor_shared_port"):
            if self.manager.processes(name):
                self.manager.kill(name)

    # -- workers -------------------------------------------------------------------------------------------------------

    def worker(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        files: Mapping[str, str | bytes] | None = None,
        disks: Mapping[str, str] | None = None,
        token: str | None = None,
        token_path: str = settings.TOKEN,
        connected: bool = True,
    ) -> Host:
        """Start a worker whose PID 1 is `argv`; `autopilot` is this checkout's as it was at the first call.

        `files` are written before the start; `disks` are tmpfs mounts (path -> options). `token=""` leaves the worker
        without one; None makes it a good one. `connected=False` leaves its cable unplugged.
        """
        number = len(self.workers) + 1
        tree = Tree(
            layers=self._worker_layers(),
            own=self._folder / f"worker{number}",
            files={"/etc/hosts": settings.hosts_file(), **(files or {})},
            disks=disks or {},
        )
        token = self.token() if token is None else token
        host = Host(f"worker{number}", argv, tree=tree, env={"CONDOR_HOST": settings.CONDOR_HOST, **(env or {})})
        self._stack.callback(host.stop)
        self.workers.append(host)
        if token:
            host.write(token_path, token, mode=0o600)
        self._plug(host, settings.address(number))
        if connected:
            host.cable("up")
        host.go()
        return host

    def _worker_layers(self) -> list[Path]:
        if not self._layers:
            source = source_layer(self._debian, self._folder / "source")
            self._layers = [source, dependency_layer(self._debian), self._debian]
        return self._layers

    def _plug(self, host: Host, address: str) -> None:
        cable = f"to-{host.name}"
        host.ip("link", "set", "lo", "up")
        self.manager.ip("link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", str(host.pid))
        self.manager.ip("link", "set", cable, "master", "eth0", "up")
        host.ip("address", "add", f"{address}/24", "dev", "eth0")
