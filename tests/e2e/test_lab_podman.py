"""The lab's Podman: its end leaves nothing behind."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab.podman_engine import start_podman
from lab.tiny_images import build_rootfs_tar
from tests.watchdog.site import eventually

FOREVER = "sleep 100000"


def is_running(pid: str) -> bool:
    """Return True if a process exists and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def list_processes(part: str) -> list[str]:
    """Return the ids of the processes whose command line has this part."""
    pids = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if part.encode() in (folder / "cmdline").read_bytes():
                pids.append(folder.name)
        except (FileNotFoundError, ProcessLookupError):
            continue
    return pids


@pytest.mark.real("podman")
def test_end_of_podman(tmp_path: Path) -> None:
    """No container, process or file stays, though one container uses another's network and a command runs in it."""
    (tmp_path / "rootfs.tar").write_bytes(build_rootfs_tar(FOREVER))
    with start_podman() as podman:
        folder = str(podman.folder)
        podman.run("import", str(tmp_path / "rootfs.tar"), "localhost/tiny")
        for name, network in (("first", "none"), ("second", "container:first")):
            podman.run("run", "--detach", "--name", name, "--network", network, "localhost/tiny", "sh", "/start")
        podman.run("exec", "--detach", "first", "sh", "/start")
        containers = podman.run("inspect", "--format", "{{.State.Pid}}", "first", "second").split()
        assert all(is_running(pid) for pid in containers) and list_processes(folder)
    eventually(lambda: not any(is_running(pid) for pid in containers), 60, "the containers have ended")
    eventually(lambda: not list_processes(folder), 60, "no process of the engine is left")
    assert not Path(folder).exists()
