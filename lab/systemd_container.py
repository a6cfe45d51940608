"""A real systemd as PID 1, in a container of a Docker engine: units, timers and sandboxes as on a host."""

from __future__ import annotations

import subprocess
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from lab import debian_trees
from lab.cache import compute_cache_key, get_or_build
from lab.docker_engine import Engine
from lab.lab_errors import LabError

PACKAGES = ("ca-certificates", "dbus", "procps", "python3", "systemd", "systemd-sysv")
# The unified hierarchy alone: with all of /sys/fs/cgroup a systemd inside would take the machine's away from it.
CGROUP_FOLDERS = ("/sys/fs/cgroup/unified", "/sys/fs/cgroup")


class SystemdContainer:
    def __init__(self, engine: Engine, name: str) -> None:
        self._engine = engine
        self.name = name

    def run(self, *words: str, check: bool = True, timeout: float = 60) -> str:
        """A command inside, and what it printed."""
        return self._engine.run("exec", self.name, *words, check=check, timeout=timeout)

    def write_file(self, path: str, text: str) -> None:
        self._engine.run("exec", "-i", self.name, "sh", "-c", f"cat > {path}", stdin=text)

    def read_journal(self, identifier: str) -> str:
        """What a program said. By its name: a process that ends at once is gone before its unit is looked up."""
        return self.run("journalctl", "--no-pager", "--output=cat", f"--identifier={identifier}")

    def has_booted(self) -> bool:
        return self.run("systemctl", "is-system-running", check=False).strip() in ("running", "degraded")


def build_systemd_tar() -> Path:
    """A Debian with systemd, as a tar for `docker import`."""
    return get_or_build(
        f"systemd-{compute_cache_key(debian_trees.SUITE, PACKAGES)}.tar",
        lambda part: debian_trees.build_debian_tree(part, PACKAGES, "tar"),
    )


@contextmanager
def start_systemd(engine: Engine, mounts: Mapping[str, str]) -> Iterator[SystemdContainer]:
    """Boots in half a second. `mounts`: path here -> path inside. Shares the engine's network."""
    image = f"lab/{build_systemd_tar().stem}"
    if not engine.run("images", "--quiet", image).strip():
        engine.run(
            *(
                "import",
                "--change",
                "ENV container=docker",
                "--change",
                'CMD ["/sbin/init"]',
                str(build_systemd_tar()),
                image,
            ),
            timeout=300,
        )
    name = f"systemd-{uuid.uuid4().hex[:8]}"
    groups = next((here for here in CGROUP_FOLDERS if Path(here, "cgroup.procs").exists()), None)
    if groups is None:
        raise LabError("this machine has no unified cgroups, which systemd needs")
    binds = {groups: "/sys/fs/cgroup", **mounts}
    engine.run(
        *("run", "--detach", "--name", name, "--network", "host", "--cap-add", "SYS_ADMIN", "--cgroupns", "host"),
        *("--security-opt", "seccomp=unconfined", "--security-opt", "apparmor=unconfined"),
        *(word for here, there in binds.items() for word in ("--volume", f"{here}:{there}")),
        *("--tmpfs", "/run", "--tmpfs", "/run/lock", "--tmpfs", "/tmp", "--stop-signal", "SIGRTMIN+3", image),
    )
    found = SystemdContainer(engine, name)
    try:
        end = time.monotonic() + 30
        while not found.has_booted():
            if time.monotonic() > end:
                raise LabError(f"systemd does not boot: {engine.run('logs', name, check=False)[-500:]}")
            time.sleep(0.1)  # it notifies its own supervisor only
        yield found
    except subprocess.SubprocessError as error:
        raise LabError(f"systemd does not answer: {error}") from None
    finally:
        engine.run("rm", "--force", "--volumes", name)
