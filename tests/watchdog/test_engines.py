"""The whole watchdog on real engines and a real registry."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from lab.tiny import good_life
from tests.watchdog.site import Site, eventually

pytestmark = pytest.mark.real("docker", "podman", "registry")

SLOT = "wn-01"


def container(site: Site, slot: str = SLOT) -> dict[str, str]:
    return site.status()[slot]


def kill(site: Site, name: str) -> None:
    """SIGKILL to the container's first process, from outside of any engine."""
    code = (
        "import sys, autopilot_watchdog.engine.client as c; found = c.Client('x', sys.argv[1])"
        ".json('GET', f'/containers/{sys.argv[2]}/json'); print(found['State']['Pid'])"
    )
    socket = site.document["engines"][site.engine]
    pid = subprocess.run([sys.executable, "-c", code, socket, name], capture_output=True, text=True, check=True).stdout
    os.kill(int(pid), signal.SIGKILL)


def test_missing_slots_are_filled(any_site: Site) -> None:
    """The first pass pulls the image once and starts every slot by digest; the second has nothing to do."""
    digest = any_site.push()
    any_site.write({"count": 2})
    any_site.run()
    status = any_site.status()
    assert [slot["state"] for slot in status.values()] == ["running", "running"]
    assert {slot["digest"] for slot in status.values()} == {digest}
    assert len(any_site.audit("pull")) == 1
    before = len(any_site.audit())
    any_site.run()
    assert len(any_site.audit()) == before


def test_killed_slot_is_refilled(any_site: Site) -> None:
    """The next pass after a SIGKILL finds the slot empty and starts a life of another name."""
    any_site.push()
    any_site.run()
    first = container(any_site)["container"]
    kill(any_site, first)
    eventually(lambda: container(any_site)["state"] == "starting", 10, "the engine has seen it")
    any_site.run()
    second = container(any_site)
    assert second["state"] == "running" and second["container"] != first
    assert any_site.audit("bury")[-1]["code"] == "killed"


def test_watch_refills_within_2_s(any_site: Site) -> None:
    """With `watch`, at most 2 s pass from the exit to the new container's running."""
    any_site.push()
    with any_site.watching():
        first = eventually(lambda: container(any_site)["container"], 30, "the slot is filled")
        began = time.time()
        kill(any_site, first)
        eventually(lambda: container(any_site)["container"] not in (first, None), 10, "it is refilled")
        gap = container(any_site)["since"] - began
    assert gap <= 2, f"{gap:.2f} s"


def test_push_is_taken_by_the_next_life_only(any_site: Site) -> None:
    """A new push is fetched beside the running container, which runs on; the next life takes it."""
    old = any_site.push()
    any_site.run()
    first = container(any_site)
    new = any_site.push(good_life("# 2\nsleep 100000"))
    any_site.run()
    assert container(any_site) == first
    assert [pull["digest"] for pull in any_site.audit("pull")] == [old, new]
    kill(any_site, first["container"])
    eventually(lambda: container(any_site)["state"] == "starting", 10, "the engine has seen it")
    any_site.run()
    assert container(any_site)["digest"] == new


def test_bad_push_rolls_back_and_the_next_good_one_recovers(any_site: Site) -> None:
    """An image that exits at once is quarantined, the last good one runs; the next good push is taken."""
    any_site.write(failures={"initial": "10ms", "longest": "20ms"})
    good = any_site.push()
    any_site.run()
    any_site.run()
    assert any_site.image()["goods"][0]["digest"] == good
    bad = any_site.push("echo no good; exit 3")
    kill(any_site, container(any_site)["container"])

    def rolled_back() -> bool:
        any_site.run(None)
        status = container(any_site)
        return bool(status["container"]) and status["digest"] == good and bad in any_site.image()["quarantine"]

    eventually(rolled_back, 30, "rolled back")
    assert "no good" in any_site.audit("printed")[-1]["sentence"]
    pulls = len(any_site.audit("pull"))
    for _ in range(3):
        any_site.run()
    assert len(any_site.audit("pull")) == pulls
    fixed = any_site.push(good_life("# fixed\nsleep 100000"))
    any_site.run()
    kill(any_site, container(any_site)["container"])
    eventually(lambda: container(any_site)["state"] == "starting", 10, "the engine has seen it")
    any_site.run()
    assert container(any_site)["digest"] == fixed


def test_last_words_are_completed(site: Site) -> None:
    """A killed container's last words say afterwards that it was killed, its status, and who completed them."""
    site.push(good_life().replace('"container_name"', '"container_id": "ID", "container_name"'))
    site.run()
    words = site.folder / "state/slots/wn-01/last-words.json"
    eventually(words.exists, 5, "it speaks")
    name = container(site)["container"]
    full = site.builder.run("inspect", "-f", "{{.Id}}", name).strip()
    words.write_text(words.read_text().replace("ID", full))
    kill(site, name)
    eventually(lambda: container(site)["state"] == "starting", 10, "the engine has seen it")
    previous = words.read_text
    document = {}

    def read() -> bool:
        document.update(json.loads(previous()))
        return document["state"] == "ended"

    site.write({"count": 1, "name": "other-NN"})  # so that the slot's next life does not write over them
    site.run()
    assert read()
    assert (document["reason"], document["exit_code"], document["completed_by"]) == ("killed", 137, "watchdog")


def test_left_over_names_and_containers(any_site: Site) -> None:
    """The dead container is removed; the slot's next life has a name of its own."""
    any_site.push()
    any_site.run()
    name = container(any_site)["container"]
    kill(any_site, name)
    eventually(lambda: container(any_site)["state"] == "starting", 10, "the engine has seen it")
    any_site.run()
    names = [entry["sentence"] for entry in any_site.audit("bury")]
    assert any(name in sentence for sentence in names)
    assert container(any_site)["container"] != name
