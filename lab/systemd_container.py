"""Run a real systemd as PID 1 of a container in a Docker engine: units, timers and sandboxes as on a host."""

from __future__ import annotations

import subprocess
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from lab import debian_trees
from lab.cache import compute_cache_key, get_or_build
from lab.docker_engine import Engine
from lab.lab_errors import LabError
from lab.polling import poll_until

PACKAGES = ("ca-certificates", "dbus", "procps", "python3", "systemd", "systemd-sysv")
# Only the unified hierarchy: with all of /sys/fs/cgroup a systemd inside would take over the machine's own cgroups.
CGROUP_FOLDERS = ("/sys/fs/cgroup/unified", "/sys/fs/cgroup")
# asked for inside of a container that does not boot
BOOT_QUESTIONS = (
    "systemctl is-system-running",
    "systemctl list-jobs --no-pager",
    "systemctl list-units --failed --no-pager --no-legend",
    "grep -E '^(Name|State)' /proc/1/status",
    "ps -eo pid,stat,etimes,args",
    "journalctl --no-pager --output=short-monotonic --lines=15",
)


class SystemdContainer:
    """Container whose PID 1 is systemd."""

    def __init__(self, engine: Engine, name: str) -> None:
        self._engine = engine
        self.name = name

    def run(self, *words: str, check: bool = True, timeout: float = 60) -> str:
        """Run a command inside and return its standard output."""
        return self._engine.run("exec", self.name, *words, check=check, timeout=timeout)

    def write_file(self, path: str, text: str) -> None:
        """Write a file inside."""
        self._engine.run("exec", "-i", self.name, "sh", "-c", f"cat > {path}", stdin=text)

    def read_journal(self, identifier: str) -> str:
        """Return the journal of a program, found by its name: a short-lived one may not be assigned to its unit."""
        return self.run("journalctl", "--no-pager", "--output=cat", f"--identifier={identifier}")

    def has_booted(self) -> bool:
        """Return True if systemd has finished its start-up."""
        return self.run("systemctl", "is-system-running", check=False).strip() in ("running", "degraded")

    def describe_boot(self) -> str:
        """Return the facts that tell why the start-up has not finished, each below the command that asked for it."""
        state = self._engine.run("inspect", "--format", "{{json .State}}", self.name, check=False)
        answers = [f"container: {state.strip()}"]
        answers.append(f"output: {self._engine.run('logs', self.name, check=False, include_stderr=True)[-500:]}")
        for command in BOOT_QUESTIONS:
            answer = self._engine.run("exec", self.name, "sh", "-c", command, check=False, include_stderr=True)
            answers.append(f"{command}:\n{answer.strip()[-1500:]}")
        load = Path("/proc/loadavg").read_text().strip()
        return "\n".join([*answers, f"load of this machine: {load}"])


def build_systemd_tar() -> Path:
    """Return a tar for `docker import` with a Debian that contains systemd."""
    return get_or_build(
        f"systemd-{compute_cache_key(debian_trees.SUITE, PACKAGES)}.tar",
        lambda part: debian_trees.build_debian_tree(part, PACKAGES, "tar"),
    )


@contextmanager
def start_systemd(engine: Engine, mounts: Mapping[str, str]) -> Iterator[SystemdContainer]:
    """Run systemd in the engine's network, wait until it has booted, and remove the container at the end.

    Args:
        engine: the engine that runs the container.
        mounts: path here -> path inside.

    Raises:
        LabError: it cannot boot here.
    """
    image = f"lab/{build_systemd_tar().stem}"
    if not engine.run("images", "--quiet", image).strip():
        engine.run(
            *("import", "--change", "ENV container=docker", "--change", 'CMD ["/sbin/init"]'),
            *(str(build_systemd_tar()), image),
            timeout=300,
        )
    name = f"systemd-{uuid.uuid4().hex[:8]}"
    cgroups = next((here for here in CGROUP_FOLDERS if Path(here, "cgroup.procs").exists()), None)
    if cgroups is None:
        raise LabError("this machine has no unified cgroups, which systemd needs")
    binds = {cgroups: "/sys/fs/cgroup", **mounts}
    engine.run(
        *("run", "--detach", "--name", name, "--network", "host", "--cap-add", "SYS_ADMIN", "--cgroupns", "host"),
        *("--security-opt", "seccomp=unconfined", "--security-opt", "apparmor=unconfined"),
        *(word for here, there in binds.items() for word in ("--volume", f"{here}:{there}")),
        *("--tmpfs", "/run", "--tmpfs", "/run/lock", "--tmpfs", "/tmp", "--stop-signal", "SIGRTMIN+3", image),
    )
    container = SystemdContainer(engine, name)
    try:
        poll_until(
            container.has_booted,
            30,
            lambda _: f"systemd does not boot:\n{container.describe_boot()}",
            interval_s=0.1,
        )
        yield container
    except subprocess.SubprocessError as error:
        raise LabError(f"systemd does not answer: {error}") from None
    finally:
        engine.run("rm", "--force", "--volumes", name)
