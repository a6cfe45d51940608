"""Run Podman's API service as a user without privileges, as `systemctl --user enable podman.socket` does.

The user has no range of subordinate ids, so a container has one user: its root is this user. That needs no setuid
helper, only a kernel that lets users create namespaces. Containers have no network.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lab import system_packages
from lab.cache import detach_mounts_below
from lab.lab_errors import LabError
from lab.podman_engine import CONTAINERS_CONF, Podman
from lab.survivors import kill_processes

USER = "daemon"  # every Debian has it
STORAGE_CONF = """\
[storage]
driver = "vfs"
runroot = "{folder}/run"
graphroot = "{folder}/storage"
rootless_storage_path = "{folder}/storage"
[storage.options]
ignore_chown_errors = "true"
"""


@dataclass
class RootlessPodman(Podman):
    """Service of a user, in a folder of that user that others can look into."""

    def build_prefix(self) -> list[str]:
        """Return the beginning of a command line that runs a command as the user."""
        user = pwd.getpwnam(USER)
        return ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups", "--"]

    def build_environment(self) -> dict[str, str]:
        """Return the environment that makes podman use this service's folder only."""
        return {
            **super().build_environment(),
            "HOME": f"{self.folder}/home",
            "XDG_RUNTIME_DIR": f"{self.folder}/runtime",
            "USER": USER,
        }


def require_rootless_podman() -> None:
    """Raise LabError unless a user without privileges can run Podman here; the message has the kernel's own words."""
    if os.geteuid() != 0:
        raise LabError("this is not root, which becomes the user")
    system_packages.ensure_programs("podman", "runc", "setpriv", "unshare")
    done = subprocess.run(
        [*RootlessPodman(Path("/")).build_prefix(), "unshare", "--user", "--map-root-user", "--mount", "true"],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise LabError(f"users may create no namespaces here ({done.stderr.strip()})")


@contextmanager
def start_rootless_podman(*insecure_registries: str) -> Iterator[RootlessPodman]:
    """Run a service as a user; at the end remove its containers and stop it.

    Args:
        insecure_registries: registries without TLS.
    """
    require_rootless_podman()
    user = pwd.getpwnam(USER)
    folder = Path(tempfile.mkdtemp(prefix="autopilot-rootless-", dir="/var/tmp"))  # root's own folders are closed
    podman = RootlessPodman(folder)
    try:
        for name in ("home", "runtime", "run", "storage", "tmp"):
            (folder / name).mkdir(mode=0o700)
            os.chown(folder / name, user.pw_uid, user.pw_gid)
        os.chown(folder, user.pw_uid, user.pw_gid)
        folder.chmod(0o755)
        (folder / "containers.conf").write_text(CONTAINERS_CONF.format(folder=folder))
        (folder / "storage.conf").write_text(STORAGE_CONF.format(folder=folder))
        registries = "".join(f'[[registry]]\nlocation = "{one}"\ninsecure = true\n' for one in insecure_registries)
        (folder / "registries.conf").write_text(registries)
        podman.start()
        yield podman
    finally:
        podman.run("rm", "--all", "--force", "--time=0", "--volumes", check=False)
        podman.stop()
        podman.run("system", "migrate", check=False)  # ends the process that holds the user's namespace
        kill_processes(f"{folder}/")
        detach_mounts_below(folder)
        shutil.rmtree(folder, ignore_errors=True)
