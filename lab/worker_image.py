"""Build the worker-node image as an administrator does, over a Debian from the machine's own mirror."""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from lab import wheelhouse
from lab.debian_trees import build_slim_tar
from lab.docker_engine import Engine

RECIPE_FOLDER = wheelhouse.REPO / "examples" / "worker-node"
REPOSITORY = "condor-autopilot-lab"
PROXY_VARIABLES = ("http_proxy", "https_proxy", "no_proxy")


@dataclass(frozen=True)
class WorkerImage:
    """Built worker-node image, and the image with HTCondor below it."""

    condor_tag: str  # Debian with HTCondor
    worker_tag: str
    condor_size_bytes: int
    worker_size_bytes: int


def build_worker_image(engine: Engine, python: str = "3.13") -> WorkerImage:
    """Build examples/worker-node from a wheelhouse of this checkout, and its HTCondor base alone."""
    base = _import_debian(engine)
    with tempfile.TemporaryDirectory() as folder:
        context = Path(folder) / "worker-node"
        shutil.copytree(RECIPE_FOLDER, context, ignore=shutil.ignore_patterns("wheelhouse"))
        wheelhouse.fill_wheelhouse(context / "wheelhouse", python)
        condor = _build_stage(engine, context, base, "condor")
        worker = _build_stage(engine, context, base, "worker")
    return WorkerImage(condor, worker, _get_size(engine, condor), _get_size(engine, worker))


def _import_debian(engine: Engine) -> str:
    """Return the tag of an imported Debian that replaces debian:trixie-slim, so that no registry is asked."""
    tar = build_slim_tar()
    tag = f"{REPOSITORY}/debian:{tar.stem}"
    if not engine.run("images", "--quiet", tag).strip():
        engine.run("import", str(tar), tag, timeout=300)
    return tag


def _build_stage(engine: Engine, context: Path, base: str, target: str) -> str:
    tag = f"{REPOSITORY}/{target}"
    proxies = [word for name in PROXY_VARIABLES if name in os.environ for word in ("--build-arg", name)]
    # the host's network: apt in a build step then reaches the mirror as this machine does
    engine.run(
        *("build", "--quiet", "--network", "host", "--build-arg", f"BASE={base}", *proxies),
        *("--target", target, "--tag", tag, str(context)),
        timeout=900,
    )
    return tag


def _get_size(engine: Engine, tag: str) -> int:
    return int(engine.run("image", "inspect", "--format", "{{.Size}}", tag))
