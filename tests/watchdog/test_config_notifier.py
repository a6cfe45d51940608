"""A change of the configuration's file is told at once, however the file is replaced."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from autopilot_watchdog.shell.config_notifier import ConfigNotifier, list_folders

from tests.watchdog.site import eventually


@pytest.fixture
def _signal_kept() -> Iterator[None]:
    """Restore the signal's handler; a late signal must not end the process of the tests."""
    yield
    signal.signal(signal.SIGIO, signal.SIG_IGN)


def build_file(folder: Path, kind: str) -> Path:
    """Create a file that is plain, a link, below a linked folder, or laid out as Kubernetes does; return its path."""
    (folder / "v1").mkdir()
    (folder / "v1/wd.json").write_text("1")
    if kind == "plain":
        return folder / "v1/wd.json"
    (folder / "etc").mkdir()
    if kind == "link":
        (folder / "etc/wd.json").symlink_to("../v1/wd.json")
        return folder / "etc/wd.json"
    (folder / "etc/now").symlink_to("../v1")
    if kind == "linked folder":
        return folder / "etc/now/wd.json"
    (folder / "conf").mkdir()
    (folder / "conf/wd.json").symlink_to("../etc/now/wd.json")
    return folder / "conf/wd.json"


@pytest.mark.parametrize("kind", ["plain", "link", "linked folder", "links"])
@pytest.mark.parametrize("change", ["written", "replaced", "removed", "other link"])
@pytest.mark.usefixtures("_signal_kept")
def test_every_change_is_told(tmp_path: Path, kind: str, change: str) -> None:
    """A file that is written in place, replaced, removed, or reached by another link, is told of by another process."""
    path = build_file(tmp_path, kind)
    told: list[bool] = []
    notifier = ConfigNotifier(path, lambda: told.append(True))
    (tmp_path / "v2").mkdir()
    (tmp_path / "v2/wd.json").write_text("2")
    notifier.refresh()
    told.clear()
    new = "import os, sys; os.symlink(sys.argv[1], sys.argv[2] + '.new'); os.rename(sys.argv[2] + '.new', sys.argv[2])"
    match change:
        case "written":
            words = ["sh", "-c", f"echo 3 > {tmp_path}/v1/wd.json"]
        case "replaced":
            words = ["mv", f"{tmp_path}/v2/wd.json", f"{tmp_path}/v1/wd.json"]
        case "removed":
            words = ["rm", f"{tmp_path}/v1/wd.json"]
        case _ if kind in {"plain", "link"}:
            words = [sys.executable, "-c", new, "../v2/wd.json", str(path)]
        case _:
            words = [sys.executable, "-c", new, "../v2", f"{tmp_path}/etc/now"]
    subprocess.run(words, check=True)
    eventually(lambda: told, 10, "the change is told")
    notifier.refresh()


def list_open_files() -> list[str]:
    """Return the paths of this process's open files."""
    links = []
    for descriptor in os.listdir("/proc/self/fd"):
        with suppress(OSError):  # it was closed meanwhile, such as that of this listing
            links.append(os.readlink(f"/proc/self/fd/{descriptor}"))
    return links


@pytest.mark.usefixtures("_signal_kept")
def test_folder_comes_back(tmp_path: Path) -> None:
    """A folder that is missing is no mistake; when it is back, its changes are told, and no descriptor is left over."""
    folder = tmp_path / "etc"
    told: list[bool] = []
    notifier = ConfigNotifier(folder / "wd.json", lambda: told.append(True))
    for _ in range(3):
        folder.mkdir()
        notifier.refresh()
        told.clear()
        (folder / "wd.json").write_text("1")
        eventually(lambda: told, 10, "the change is told")
        (folder / "wd.json").unlink()
        folder.rmdir()
        notifier.refresh()
    assert not [link for link in list_open_files() if link.startswith(str(folder))]


def test_endless_links(tmp_path: Path) -> None:
    """A link to itself ends the search for folders."""
    (tmp_path / "a").symlink_to("a")
    assert list_folders(str(tmp_path / "a")) == [str(tmp_path)]
