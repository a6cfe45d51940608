"""Where the lab keeps what is dear to build: outside the repository, keyed by its recipe, built once at a time."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


def get_cache_folder() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(base) / "condor-autopilot"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def compute_cache_key(*recipe: object) -> str:
    return hashlib.sha256(repr(recipe).encode()).hexdigest()[:12]


@contextmanager
def hold_lock(name: str) -> Iterator[None]:
    """Hold the machine-wide lock of that name. The kernel releases it whatever happens to us."""
    with (get_cache_folder() / f"{name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def get_or_build(name: str, build: Callable[[Path], None]) -> Path:
    """The cached file or folder `name`; if it is not there, `build` makes it under a temporary name first."""
    target = get_cache_folder() / name
    with hold_lock(name):
        if not target.exists():
            part = target.with_name(f"part-{name}")
            discard(part)
            build(part)
            part.rename(target)
    return target


def discard(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def detach_mounts_below(folder: Path) -> None:
    """What an engine that was killed had mounted there: one such folder must not stop every later run."""
    mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    for mount in reversed([mount for mount in mounts if mount.startswith(f"{folder}/")]):
        subprocess.run(["umount", "--quiet", "--lazy", mount], check=False)


@contextmanager
def create_run_folder() -> Iterator[Path]:
    """A folder for one run, removed at its end. Folders whose runs have died are removed at the next begin."""
    base = get_cache_folder() / "runs"
    base.mkdir(exist_ok=True)
    with hold_lock("runs"):
        for old in base.iterdir():
            with (old / ".lock").open("w") as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    continue
            detach_mounts_below(old)
            shutil.rmtree(old)
        folder = Path(tempfile.mkdtemp(dir=base))
        folder.chmod(0o755)
        lock = (folder / ".lock").open("w")
        fcntl.flock(lock, fcntl.LOCK_EX)
    with lock:
        try:
            yield folder
        finally:
            with hold_lock("runs"):  # not while another run looks for what dead ones have left
                shutil.rmtree(folder)
