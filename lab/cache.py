"""Keep expensive builds outside the repository, keyed by their recipe; only one process builds at a time."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from lab.polling import poll_until


def get_cache_folder() -> Path:
    """Return the lab's folder below XDG_CACHE_HOME (or ~/.cache), creating it if needed."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(base) / "condor-autopilot"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def compute_cache_key(*recipe: object) -> str:
    """Return a key of 12 hex digits that changes with any part of the recipe."""
    return hashlib.sha256(repr(recipe).encode()).hexdigest()[:12]


@contextmanager
def hold_lock(name: str) -> Iterator[None]:
    """Hold the machine-wide lock `name`. The kernel releases it even if this process is killed."""
    with (get_cache_folder() / f"{name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def get_or_build(name: str, build: Callable[[Path], None]) -> Path:
    """Return the cached file or folder `name`, building it first if it does not exist.

    Args:
        name: name below the cache folder; it must contain the key of its recipe.
        build: called with a temporary path, which is renamed to `name` afterwards: an aborted build leaves nothing.
    """
    target = get_cache_folder() / name
    with hold_lock(name):
        if not target.exists():
            part = target.with_name(f"part-{name}")
            discard(part)
            build(part)
            part.rename(target)
    return target


def discard(path: Path) -> None:
    """Delete a file, symbolic link or folder tree, with the mounts in a tree; a missing one is no error."""
    if path.is_dir() and not path.is_symlink():
        poll_until(partial(_remove_tree, path), 10, lambda _: f"cannot remove {path}: a file system is mounted in it")
    else:
        path.unlink(missing_ok=True)


def _remove_tree(path: Path) -> bool:
    """Remove a folder tree; return False if an engine's process that ends has just mounted something in it."""
    detach_mounts_below(path)
    try:
        shutil.rmtree(path)
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise
        return False
    return True


def detach_mounts_below(folder: Path) -> None:
    """Detach all mounts below `folder`, left by a killed engine: they would make every later clean-up fail."""
    mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    for mount in reversed([mount for mount in mounts if mount.startswith(f"{folder}/")]):
        subprocess.run(["umount", "--quiet", "--lazy", mount], check=False)


@contextmanager
def create_run_folder() -> Iterator[Path]:
    """Create a folder for one run and remove it at the end. First remove the folders of runs that have died."""
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
            for path in folder.iterdir():
                if path.name != ".lock":  # with it, other runs leave the folder alone; so none waits for a long removal
                    discard(path)
            with hold_lock("runs"):  # not while another run removes the folders of dead ones
                shutil.rmtree(folder)
