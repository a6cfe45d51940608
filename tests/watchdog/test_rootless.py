"""The watchdog with a real rootless Podman, as root against the user's socket and as the user itself."""

from __future__ import annotations

import json
import os
import pwd
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import autopilot_watchdog
import pytest

from lab.dockerd import DockerDaemon
from lab.registry_server import Registry
from lab.rootless_podman import USER, RootlessPodman, start_rootless_podman
from lab.tiny_images import format_healthy_script
from tests.watchdog.site import NAME, Site, eventually

pytestmark = pytest.mark.real("docker", "registry", "rootless-podman")


@pytest.fixture(scope="module")
def rootless() -> Iterator[RootlessPodman]:
    """Start the user's Podman."""
    with start_rootless_podman("127.0.0.1") as found:
        yield found


@pytest.fixture(params=["root", USER])
def rootless_site(
    request: pytest.FixtureRequest, rootless: RootlessPodman, docker: DockerDaemon, the_registry: Registry
) -> Site:
    """Set up a host with the user's Podman; the watchdog runs as root or as that user."""
    folder = rootless.folder / f"of-{request.param}"
    folder.mkdir(mode=0o755)
    site = Site(folder, "podman", rootless, the_registry, docker.engine)
    if request.param == USER:
        site.command_prefix = rootless.build_prefix()
        program = [*site.command_prefix, sys.executable, "-c", "import autopilot_watchdog"]
        if subprocess.run(program, capture_output=True, check=False, cwd="/").returncode:
            checkout = Path(autopilot_watchdog.__file__).parent
            pytest.skip(
                f"the user {USER} may not read {checkout}; `chmod -R o+rX` lets this test run as that user, too"
            )
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
