"""A real HTCondor pool on this machine, without Docker: a manager and workers, each in namespaces of its own.

    with Pool() as pool:
        worker = pool.worker(["autopilot", "run", "/etc/autopilot.json5"], files={"/etc/autopilot.json5": text})
        pool.wait(lambda: pool.slots(), 20, "the worker joins")
        job = pool.submit(5)
        pool.wait(lambda: pool.job_status(job) == "Running", 20)
        worker.wait(60)

The manager's network holds a bridge; a worker's card is the other end of a cable to it. Names come from /etc/hosts.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self, TypeVar

from lab import settings
from lab.cache import workplace
from lab.errors import LabError
from lab.host import Host, Tree
from lab.layer import autopilot_layer, source_mounts
from lab.rootfs import condor_tree

T = TypeVar("T")
USERS = ("alice", "bob")
TOKEN = "/etc/condor/tokens.d/worker"
STATUS = {1: "Idle", 2: "Running", 3: "Removed", 4: "Completed", 5: "Held", 6: "TransferringOutput", 7: "Suspended"}


def _accounts(tree: Path) -> dict[str, str]:
    """The tree's account files with the people who submit."""
    files = {name: (tree / "etc" / name).read_text() for name in ("passwd", "group")}
    for number, user in enumerate(USERS, start=1001):
        files["passwd"] += f"{user}:x:{number}:{number}::/home/{user}:/bin/sh\n"
        files["group"] += f"{user}:x:{number}:\n"
    return {f"/etc/{name}": text for name, text in files.items()}


class Pool:
    """The manager runs from the `with` on; `worker()` adds workers. Everything is gone at the end."""

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._folder = stack.enter_context(workplace())
            self._tree = condor_tree()
            self._stack = stack
            self._workers = 0
            self._start_manager()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    # -- hosts ---------------------------------------------------------------------------------------------------------

    def _start_manager(self) -> None:
        tree = Tree(
            layers=[self._tree],
            own=self._folder / settings.MANAGER,
            files={
                "/etc/hosts": settings.hosts_file(),
                "/etc/condor/config.d/50-lab.conf": settings.MANAGER_CONFIG,
                **_accounts(self._tree),
            },
        )
        self.manager = Host(settings.MANAGER, ["sh", "-c", "sleep infinity & wait"], tree=tree)
        self._stack.callback(self.manager.stop)
        self.manager.ip("link", "set", "lo", "up")
        self.manager.ip("link", "add", "eth0", "type", "bridge")
        self.manager.ip("address", "add", f"{settings.address(0)}/24", "dev", "eth0")
        self.manager.ip("link", "set", "eth0", "up")
        self.manager.go()
        for folder in ("/run/condor", "/var/lock/condor", "/var/spool/condor"):
            self.manager.run(["install", "-d", "-o", "condor", "-g", "condor", folder])
        for user in USERS:
            self.manager.run(["install", "-d", "-o", user, "-g", user, f"/home/{user}"])
        self.start_manager()

    def start_manager(self) -> None:
        """Start the manager's daemons; ready when the queue answers."""
        self.manager.run(["condor_master"])
        self.wait(self._manager_is_up, 60, "the manager is up")

    def stop_manager(self) -> None:
        """Kill the manager's daemons at once, as a crash does. The network stays."""
        for name in ("condor_master", "condor_collector", "condor_negotiator", "condor_schedd", "condor_shared_port"):
            if self.manager.processes(name):
                self.manager.kill(name)

    def _manager_is_up(self) -> bool:
        known = self.manager.run("condor_q >/dev/null 2>&1 && condor_status -any -af MyType", check=False).split()
        return {"Scheduler", "Negotiator"} <= set(known)

    def token(self) -> str:
        """A new token with which a worker may join, and do nothing else."""
        rights = ["ADVERTISE_MASTER", "ADVERTISE_STARTD", "READ"]
        authz = [part for right in rights for part in ("-authz", right)]
        return self.manager.run(["condor_token_create", "-identity", settings.IDENTITY, *authz])

    def worker(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        files: Mapping[str, str | bytes] | None = None,
        disks: Mapping[str, str] | None = None,
        token: str | None = None,
        connected: bool = True,
    ) -> Host:
        """Start a worker whose PID 1 is `argv`. `token=""` leaves it without; None makes it a good one.

        `autopilot` is this checkout's. `files` are written before the start; `disks` are tmpfs mounts (path -> options).
        """
        self._workers += 1
        name = f"worker{self._workers}"
        tree = Tree(
            layers=[autopilot_layer(self._tree), self._tree],
            own=self._folder / name,
            files={"/etc/hosts": settings.hosts_file(), **(files or {})},
            disks=disks or {},
            shared=source_mounts(),
        )
        host = Host(name, argv, tree=tree, env={"CONDOR_HOST": f"{settings.MANAGER}.{settings.DOMAIN}", **(env or {})})
        self._stack.callback(host.stop)
        token = self.token() if token is None else token
        if token:
            host.write(TOKEN, token, mode=0o600)
        self._connect(host, connected)
        host.go()
        return host

    def _connect(self, host: Host, connected: bool) -> None:
        cable = f"to-{host.name}"
        host.ip("link", "set", "lo", "up")
        self.manager.ip("link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", str(host.pid))
        self.manager.ip("link", "set", cable, "master", "eth0", "up")
        host.ip("address", "add", f"{settings.address(self._workers)}/24", "dev", "eth0")
        if connected:
            host.cable("up")

    # -- jobs ----------------------------------------------------------------------------------------------------------

    def submit(self, seconds: float = 0, *, user: str = "alice", script: str | None = None) -> str:
        """Queue a job that sleeps, or runs a shell script, as an ordinary user. Returns its id, such as `1.0`."""
        words = (script or f"exec sleep {seconds:g}").replace("'", "''").replace('"', '""')
        description = f"""\
executable = /bin/sh
transfer_executable = false
should_transfer_files = YES
arguments = "-c '{words}'"
request_cpus = 1
request_memory = 32M
request_disk = 1M
log = /home/{user}/jobs.log
queue
"""
        said = self.manager.run(["condor_submit", "-terse", "-"], user=user, stdin=description)
        return said.split(" - ")[0].strip()

    def job(self, job: str) -> dict[str, Any]:
        """What the schedd says of a job: its ad, from the queue or from the history; {} when it knows none."""
        for tool in ("condor_q", "condor_history"):
            said = self.manager.run([tool, "-json", job], check=False).strip()
            if said and (ads := json.loads(said)):
                return dict(ads[0])
        return {}

    def job_status(self, job: str) -> str:
        """`Idle`, `Running`, `Completed`, `Held`, `Removed` ..., as the schedd says."""
        return STATUS.get(self.job(job).get("JobStatus", 0), "unknown")

    def slots(self) -> list[dict[str, Any]]:
        """The slots the collector knows."""
        said = self.manager.run(["condor_status", "-json"], check=False).strip()
        return json.loads(said) if said else []

    # -- time ----------------------------------------------------------------------------------------------------------

    def wait(self, predicate: Callable[[], T], timeout: float, what: str = "") -> T:
        """Ask until the answer is true and return it; after `timeout` seconds a LabError tells the last answer."""
        end = time.monotonic() + timeout
        while not (answer := predicate()):
            if time.monotonic() > end:
                raise LabError(f"not within {timeout:g} s: {what or predicate} (last answer: {answer!r})")
            time.sleep(0.05)  # the pool notifies nobody outside it
        return answer
