"""The watchdog with a real rootless Podman, as root against the user's socket and as the user itself."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import autopilot_watchdog
import click
import json_source_map
import prometheus_client
import pytest

from lab.dockerd import DockerDaemon
from lab.registry_server import Registry
from lab.rootless_podman import USER, RootlessPodman, start_rootless_podman
from lab.tiny_images import format_healthy_script
from tests.conftest import REAL_PARTS_REQUIRED
from tests.watchdog.site import NAME, Site, eventually

pytestmark = pytest.mark.real("docker", "registry", "rootless-podman")


@pytest.fixture(scope="module")
def rootless() -> Iterator[RootlessPodman]:
    """Start the user's Podman."""
    with start_rootless_podman("127.0.0.1") as found:
        yield found


def copy_program(folder: Path) -> None:
    """Copy the watchdog and its libraries to a folder that every user can read; the checkout may be root's alone."""
    for package in (autopilot_watchdog, click, json_source_map, prometheus_client):
        source = Path(package.__file__ or "").parent
        shutil.copytree(source, folder / source.name, ignore=shutil.ignore_patterns("__pycache__"))
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)


@pytest.fixture(params=["root", USER])
def rootless_site(
    request: pytest.FixtureRequest, rootless: RootlessPodman, docker: DockerDaemon, the_registry: Registry
) -> Site:
    """Set up a host with the user's Podman; the watchdog runs as root or as that user."""
    folder = rootless.folder / f"of-{request.param}"
    folder.mkdir(mode=0o755)
    site = Site(folder, "podman", rootless, the_registry, docker.engine)
    if request.param == USER:
        copy_program(folder / "program")
        site.command_prefix = [*rootless.build_prefix(), "env", f"PYTHONPATH={folder / 'program'}"]
        site.interpreter = [os.path.realpath(sys.executable), "-P"]  # the environment's folder may be root's alone
        check = [*site.command_prefix, *site.interpreter, "-c", "import autopilot_watchdog.cli.run"]
        done = subprocess.run(check, capture_output=True, text=True, check=False, cwd="/")
        if done.returncode:
            reason = f"{request.node.nodeid}: the user {USER} cannot run {site.interpreter[0]}: {done.stderr}"
            pytest.fail(reason, pytrace=False) if REAL_PARTS_REQUIRED else pytest.skip(reason)
        user = pwd.getpwnam(USER)
        os.chown(folder, user.pw_uid, user.pw_gid)
    return site


def test_last_words_of_a_rootless_container(rootless_site: Site, rootless: RootlessPodman) -> None:
    """The container's supervisor writes its last words; the watchdog reads them, and completes them after a kill."""
    site, slot = rootless_site, f"{NAME}-01"
    digest = site.push_image(
        format_healthy_script().replace('"container_name"', '"container_id": "ID", "container_name"')
    )
    site.run_once()
    words = site.state_folder / "slots" / slot / "last-words.json"
    eventually(words.exists, 30, "the container has written its last words")
    assert words.stat().st_uid == pwd.getpwnam(USER).pw_uid
    name = str(site.get_slots()[slot]["container"])
    words.write_text(words.read_text().replace("ID", site.ask_engine(f"/containers/{name}/json")["Id"]))
    site.run_once()
    assert site.get_image_record()["known_good"][0]["digest"] == digest, "good by the last words, at once"
    assert not site.read_audit("last-words-failed")
    rootless.run("kill", name)
    rootless.run("wait", name)
    site.write_config({"count": 1, "name": "other-NN"})  # so that the slot's next life does not write over them
    site.run_once()
    document = json.loads(words.read_text())
    assert (document["state"], document["reason"], document["completed_by"]) == ("ended", "killed", "watchdog")
    assert "killed" in site.run_verb("history", slot).stdout
