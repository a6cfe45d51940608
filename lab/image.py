"""The worker-node image, built as an administrator builds it, over a Debian from the machine's own mirror."""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from lab import wheelhouse
from lab.docker import Engine
from lab.rootfs import slim_tar

RECIPE = wheelhouse.REPO / "examples" / "worker-node"
REPOSITORY = "condor-autopilot-lab"
PROXIES = ("http_proxy", "https_proxy", "no_proxy")


@dataclass(frozen=True)
class Image:
    condor: str  # Debian with HTCondor: what the image is laid over
    worker: str
    condor_size: int
    worker_size: int


def build(engine: Engine, python: str = "3.13") -> Image:
    """Build examples/worker-node from a wheelhouse of this checkout, and its condor base alone."""
    base = _debian(engine)
    with tempfile.TemporaryDirectory() as folder:
        context = Path(folder) / "worker-node"
        shutil.copytree(RECIPE, context, ignore=shutil.ignore_patterns("wheelhouse"))
        wheelhouse.fill(context / "wheelhouse", python)
        condor = _build(engine, context, base, "condor")
        worker = _build(engine, context, base, "worker")
    return Image(condor, worker, _size(engine, condor), _size(engine, worker))


def _debian(engine: Engine) -> str:
    """Our stand-in for debian:trixie-slim: no registry is asked."""
    tar = slim_tar()
    tag = f"{REPOSITORY}/debian:{tar.stem}"
    if not engine.run("images", "--quiet", tag).strip():
        engine.run("import", str(tar), tag, timeout=300)
    return tag


def _build(engine: Engine, context: Path, base: str, target: str) -> str:
    tag = f"{REPOSITORY}/{target}"
    proxies = [word for name in PROXIES if name in os.environ for word in ("--build-arg", name)]
    # the host's network: apt in a build step then reaches the mirror as this machine does
    engine.run(
        *("build", "--quiet", "--network", "host", "--build-arg", f"BASE={base}", *proxies),
        *("--target", target, "--tag", tag, str(context)),
        timeout=900,
    )
    return tag


def _size(engine: Engine, tag: str) -> int:
    return int(engine.run("image", "inspect", "--format", "{{.Size}}", tag))
