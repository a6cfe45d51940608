"""Build the examples' worker images as an administrator does, over a Debian from the machine's own mirror."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lab import wheelhouse
from lab.debian_trees import build_slim_tar
from lab.docker_engine import Engine

EXAMPLES_FOLDER = wheelhouse.REPO / "examples"
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
    with _prepare_recipe("worker-node", python) as context:
        condor = _build_stage(engine, context, base, "condor", "condor")
        worker = _build_stage(engine, context, base, "worker", "worker")
    return WorkerImage(condor, worker, _get_size(engine, condor), _get_size(engine, worker))


def build_slurm_image(engine: Engine, python: str = "3.13") -> str:
    """Build examples/slurm-worker from a wheelhouse of this checkout, and return its tag."""
    base = _import_debian(engine)
    with _prepare_recipe("slurm-worker", python) as context:
        return _build_stage(engine, context, base, "worker", "slurm-worker")


@contextmanager
def _prepare_recipe(example: str, python: str) -> Iterator[Path]:
    """Lend a copy of an example's folder with a wheelhouse in it."""
    with tempfile.TemporaryDirectory() as folder:
        context = Path(folder) / example
        shutil.copytree(EXAMPLES_FOLDER / example, context, ignore=shutil.ignore_patterns("wheelhouse"))
        wheelhouse.fill_wheelhouse(context / "wheelhouse", python)
        yield context


def _import_debian(engine: Engine) -> str:
    """Return the tag of an imported Debian that replaces debian:trixie-slim, so that no registry is asked."""
    tar = build_slim_tar()
    tag = f"{REPOSITORY}/debian:{tar.stem}"
    if not engine.run("images", "--quiet", tag).strip():
        engine.run("import", str(tar), tag, timeout=300)
    return tag


def _build_stage(engine: Engine, context: Path, base: str, target: str, name: str) -> str:
    tag = f"{REPOSITORY}/{name}"
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
