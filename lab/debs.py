"""Unpack single packages of another Debian suite without installing them, fetched through this machine's own mirror."""

from __future__ import annotations

import hashlib
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from lab.cache import get_or_build
from lab.debian_trees import find_mirror
from lab.lab_errors import LabError


@dataclass(frozen=True)
class DebianPackage:
    """Package pinned by its checksum: the mirror itself is not trusted."""

    name: str
    version: str
    suite: str
    sha256: str


def get_unpacked_package(deb: DebianPackage) -> Path:
    """Return the folder that holds the package's files, downloading it the first time.

    Raises:
        LabError: the package cannot be fetched, or its checksum is wrong.
    """

    def build(part: Path) -> None:
        with tempfile.TemporaryDirectory() as folder:
            file = _download(deb, Path(folder))
            checksum = hashlib.sha256(file.read_bytes()).hexdigest()
            if checksum != deb.sha256:
                raise LabError(f"cannot use {deb.name} {deb.version}: its sha256 is {checksum}, not {deb.sha256}")
            part.mkdir()
            _run("dpkg", "--extract", str(file), str(part))

    return get_or_build(f"{deb.name}-{deb.sha256[:12]}", build)


def _download(deb: DebianPackage, folder: Path) -> Path:
    """Download the package with an apt configuration that knows only its suite, and return the file."""
    mirror = find_mirror()
    if mirror is None:
        raise LabError(f"cannot fetch {deb.name}: no Debian mirror in this machine's apt sources")
    for name in ("state/lists/partial", "cache/archives/partial"):
        (folder / name).mkdir(parents=True)
    sources = folder / "sources.list"
    sources.write_text(f"deb [trusted=yes] {mirror} {deb.suite} main\n")  # verified by its checksum
    options = {
        "Dir::Etc::SourceList": sources,
        "Dir::Etc::SourceParts": "/dev/null",
        "Dir::State": folder / "state",
        "Dir::Cache": folder / "cache",
        "APT::Sandbox::User": "root",
        "Acquire::Languages": "none",
    }
    words = [word for key, value in options.items() for word in ("-o", f"{key}={value}")]
    _run("apt-get", *words, "--quiet", "--quiet", "update")
    _run("apt-get", *words, "--quiet", "--quiet", "download", f"{deb.name}={deb.version}", cwd=folder)
    return next(folder.glob("*.deb"))


def _run(*words: str, cwd: Path | None = None) -> None:
    try:
        done = subprocess.run(words, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    except FileNotFoundError:
        raise LabError(f"cannot unpack a Debian package: {words[0]} is not installed") from None
    if done.returncode != 0:
        raise LabError(f"{words[0]} failed: {done.stdout.strip()[-1000:]}")
