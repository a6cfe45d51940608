"""Build tiny images, a static busybox and one shell script in a few kilobytes, and push them to the lab's registry."""

from __future__ import annotations

import io
import json
import shutil
import tarfile
import tempfile
from pathlib import Path

from lab import system_packages
from lab.docker_engine import Engine

LAST_WORDS = {"format": 1, "version": "lab", "state": "running", "reason": None, "good": True, "drain_started": None}


def build_rootfs_tar(script: str, bulk: int = 0) -> bytes:
    """Return a tar with /bin/busybox and its links, the script as /start, and `bulk` incompressible bytes."""
    system_packages.ensure_programs("busybox")
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for folder in ("bin", "tmp", "proc", "sys", "dev", "etc", "var/lib/autopilot"):
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(entry)
        busybox = shutil.which("busybox")
        assert busybox is not None
        _add_file(tar, "bin/busybox", Path(busybox).read_bytes())
        for name in ("sh", "sleep", "cat", "date", "touch", "ls", "true", "false", "hostname", "kill", "mv"):
            link = tarfile.TarInfo(f"bin/{name}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(link)
        _add_file(tar, "start", script.encode())
        if bulk:
            import random

            _add_file(tar, "bulk", random.Random(script).randbytes(bulk))
    return buffer.getvalue()


def build_and_push(
    engine: Engine, reference: str, script: str, *, bulk: int = 0, labels: dict[str, str] | None = None, login: str = ""
) -> str:
    """Build the image, push it, delete it locally, and return the digest the registry assigned.

    Args:
        engine: the engine that builds and pushes.
        reference: repository and tag in the registry.
        script: shell script that the image runs.
        bulk: number of incompressible bytes to add.
        labels: labels of the image.
        login: folder with a docker configuration that contains credentials.
    """
    changes = [f"--change=LABEL {key}={json.dumps(value)}" for key, value in (labels or {}).items()]
    with tempfile.NamedTemporaryFile(suffix=".tar") as file:
        file.write(build_rootfs_tar(script, bulk))
        file.flush()
        command = '--change=ENTRYPOINT ["/bin/sh", "/start"]'
        engine.run("import", command, *changes, file.name, reference)
    output = engine.run(*(["--config", login] if login else []), "push", reference)
    digest = next(word for word in output.split() if word.startswith("sha256:") and len(word) == 71)
    engine.run("rmi", reference)
    return digest


def format_healthy_script(main_command: str = "sleep 100000") -> str:
    """Return a script that writes last words as a good supervisor does, then runs `main_command`."""
    words = json.dumps({**LAST_WORDS, "container_name": "NAME"}).replace("NAME", "'$AUTOPILOT_CONTAINER_NAME'")
    folder = "/var/lib/autopilot"
    return f"echo '{words}' > {folder}/.new && mv {folder}/.new {folder}/last-words.json\n{main_command}\n"


def _add_file(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(content), 0o755
    tar.addfile(entry, io.BytesIO(content))
