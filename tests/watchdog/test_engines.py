"""The whole watchdog on real engines and a real registry."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest
from autopilot_watchdog.config.reading import load
from autopilot_watchdog.engine.client import Client
from autopilot_watchdog.engine.engine import Engine

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


def test_missing_slots_are_filled(site: Site) -> None:
    """The first pass pulls the image once and starts every slot by digest; the second has nothing to do."""
    digest = site.push()
    site.write({"count": 2})
    site.run()
    status = site.status()
    assert [slot["state"] for slot in status.values()] == ["running", "running"]
    assert {slot["digest"] for slot in status.values()} == {digest}
    assert len(site.audit("pull")) == 1
    before = len(site.audit())
    site.run()
    assert len(site.audit()) == before


def test_killed_slot_is_refilled(site: Site) -> None:
    """The next pass after a SIGKILL finds the slot empty and starts a life of another name."""
    site.push()
    site.run()
    first = container(site)["container"]
    kill(site, first)
    eventually(lambda: container(site)["state"] == "starting", 10, "the engine has seen it")
    site.run()
    second = container(site)
    assert second["state"] == "running" and second["container"] != first
    assert site.audit("bury")[-1]["code"] == "killed"


def test_watch_refills_within_2_s(site: Site) -> None:
    """With `watch`, at most 2 s pass from the exit to the new container's running."""
    site.push()
    with site.watching():
        first = eventually(lambda: container(site)["container"], 30, "the slot is filled")
        began = time.time()
        kill(site, first)
        eventually(lambda: container(site)["container"] not in (first, None), 10, "it is refilled")
        gap = container(site)["since"] - began
    assert gap <= 2, f"{gap:.2f} s"


def test_push_is_taken_by_the_next_life_only(site: Site) -> None:
    """A new push is fetched beside the running container, which runs on; the next life takes it."""
    old = site.push()
    site.run()
    first = container(site)
    new = site.push(good_life("# 2\nsleep 100000"))
    site.run()
    assert container(site) == first
    assert [pull["digest"] for pull in site.audit("pull")] == [old, new]
    kill(site, first["container"])
    eventually(lambda: container(site)["state"] == "starting", 10, "the engine has seen it")
    site.run()
    assert container(site)["digest"] == new


def test_bad_push_rolls_back_and_the_next_good_one_recovers(site: Site) -> None:
    """An image that exits at once is quarantined, the last good one runs; the next good push is taken."""
    site.write(failures={"initial": "10ms", "longest": "20ms"})
    good = site.push()
    site.run()
    site.run()
    assert site.image()["goods"][0]["digest"] == good
    bad = site.push("echo no good; exit 3")
    kill(site, container(site)["container"])

    def rolled_back() -> bool:
        site.run(None)
        status = container(site)
        return bool(status["container"]) and status["digest"] == good and bad in site.image()["quarantine"]

    eventually(rolled_back, 30, "rolled back")
    assert "no good" in site.audit("printed")[-1]["sentence"]
    assert [entry["digest"] for entry in site.audit("quarantine")] == [bad]
    assert "printed last: no good" in site.call("explain", SLOT).stdout
    assert "(quarantined)" in site.call("status").stdout
    pulls = len(site.audit("pull"))
    for _ in range(3):
        site.run()
    assert len(site.audit("pull")) == pulls
    fixed = site.push(good_life("# fixed\nsleep 100000"))
    site.run()
    kill(site, container(site)["container"])
    eventually(lambda: container(site)["state"] == "starting", 10, "the engine has seen it")
    site.run()
    assert container(site)["digest"] == fixed


def test_last_words_are_completed(site: Site) -> None:
    """A killed container's last words say afterwards that it was killed, its status, and who completed them."""
    site.push(good_life().replace('"container_name"', '"container_id": "ID", "container_name"'))
    site.run()
    words = site.folder / "state/slots/wn-01/last-words.json"
    eventually(words.exists, 5, "it speaks")
    name = container(site)["container"]
    full = Client(site.engine, site.service.socket).json("GET", f"/containers/{name}/json")["Id"]
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


def test_left_over_names_and_containers(site: Site) -> None:
    """The dead container is removed; the slot's next life has a name of its own."""
    site.push()
    site.run()
    name = container(site)["container"]
    kill(site, name)
    eventually(lambda: container(site)["state"] == "starting", 10, "the engine has seen it")
    site.run()
    names = [entry["sentence"] for entry in site.audit("bury")]
    assert any(name in sentence for sentence in names)
    assert container(site)["container"] != name


def test_stopping_is_left_alone(site: Site) -> None:
    """While somebody's `stop` waits for a container to end in order, its slot is neither buried nor filled."""
    site.push(
        good_life("trap 'touch /var/lib/autopilot/stopping; sleep 6; exit 0' TERM\nwhile true; do sleep 0.1; done")
    )
    site.run()
    first = container(site)["container"]
    client = Client(site.engine, site.service.socket)
    stop = threading.Thread(target=client.json, args=("POST", f"/containers/{first}/stop", {"t": "30"}))
    stop.start()
    eventually((site.home / "slots/wn-01/stopping").exists, 10, "it has been told to end")
    site.run()
    assert container(site)["container"] == first
    assert not site.audit("bury") and len(site.audit("start")) == 1
    stop.join()
    eventually(lambda: not container(site)["container"], 20, "it has ended")
    site.run()
    assert container(site)["container"] not in (None, first)


def test_name_that_is_taken(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that somebody else's container has is not used a second time: another one is drawn."""
    digest = site.push()
    site.run()
    taken = container(site)["container"]
    drawn = iter([taken.rpartition("-")[2], "00c0ffee"])
    monkeypatch.setattr("autopilot_watchdog.engine.engine.secrets.token_hex", lambda size: next(drawn))
    its = Engine(Client(site.engine, site.service.socket), "somebody else")
    id = its.start(load(site.config).slots[0], 1, digest, host="h1", state=None)
    assert [found.name for found in its.containers() if found.id == id] == [f"{SLOT}-00c0ffee"]
    assert container(site)["container"] == taken
