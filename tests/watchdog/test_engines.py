"""The whole watchdog on real engines and a real registry."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from typing import Any

import pytest
from autopilot_watchdog.config.config_reader import load_config
from autopilot_watchdog.engine.engine_http import EngineClient
from autopilot_watchdog.engine.engine_registry import create_engine

from lab.tiny_images import format_healthy_script
from tests.watchdog.site import Site, eventually

pytestmark = pytest.mark.real("docker", "podman", "registry")

SLOT = "wn-01"


def get_slot(site: Site, slot: str = SLOT) -> dict[str, Any]:
    """Return the slot's row of `status -o json`."""
    return site.get_slots()[slot]


def is_refilled(site: Site, old_container: str, slot: str = SLOT) -> bool:
    """Return True if the slot has a container, and not the old one."""
    return get_slot(site, slot)["container"] not in (None, old_container)


def is_slot_empty(site: Site, slot: str = SLOT) -> bool:
    """Return True if the engine has answered and the slot has no container: no answer is not "empty"."""
    row = get_slot(site, slot)
    return row["container"] is None and row["state"] != "engine-unknown"


def kill_container(site: Site, name: str) -> None:
    """Kill the container's first process, from outside of any engine."""
    pid = site.ask_engine(f"/containers/{name}/json")["State"]["Pid"]
    assert pid > 0, f"{name} does not run"  # signals to 0 go to the test's own process group
    os.kill(pid, signal.SIGKILL)


def test_missing_slots_are_filled(site: Site) -> None:
    """The first pass pulls the image once and starts every slot by digest; the second has nothing to do."""
    digest = site.push_image()
    site.write_config({"count": 2})
    site.run_once()
    status = site.get_slots()
    assert [slot["state"] for slot in status.values()] == ["running", "running"]
    assert {slot["digest"] for slot in status.values()} == {digest}
    assert len(site.read_audit("pull")) == 1
    before = len(site.read_audit())
    site.run_once()
    assert len(site.read_audit()) == before


def test_killed_slot_is_refilled(site: Site) -> None:
    """The next pass after a SIGKILL finds the slot empty and starts a life of another name."""
    site.push_image()
    site.run_once()
    first = get_slot(site)["container"]
    kill_container(site, first)
    eventually(lambda: get_slot(site)["state"] == "starting", 10, "the engine has seen it")
    site.run_once()
    second = get_slot(site)
    assert second["state"] == "running" and second["container"] != first
    assert site.read_audit("remove")[-1]["code"] == "killed"


def test_watch_refills_at_once(site: Site) -> None:
    """With `watch`, a new container runs seconds after an exit or a forced removal: the next pass is a minute later."""
    site.push_image()
    with site.run_watch():
        first = eventually(lambda: get_slot(site)["container"], 30, "the slot is filled")
        began = time.time()
        kill_container(site, first)
        eventually(lambda: is_refilled(site, first), 10, "it is refilled")
        gap = get_slot(site)["since"] - began
        second, began = get_slot(site)["container"], time.time()
        remove_container(site, second)
        eventually(lambda: is_refilled(site, second), 10, "it is refilled")
        gap_after_removal = get_slot(site)["since"] - began
    print(f"refilled after {gap:.2f} s, after a forced removal {gap_after_removal:.2f} s")
    assert gap < 50, f"{gap:.2f} s"


def remove_container(site: Site, name: str) -> None:
    """Remove a running container, as `docker rm -f` does."""
    client = EngineClient(site.engine, site.service.socket)
    client.request_json("DELETE", f"/containers/{name}", {"force": "true"}, timeout=60)


def test_push_is_taken_by_the_next_life_only(site: Site) -> None:
    """A new push is fetched beside the running container, which runs on; the next life takes it."""
    old = site.push_image()
    site.run_once()
    first = get_slot(site)
    new = site.push_image(format_healthy_script("# 2\nsleep 100000"))
    site.run_once()
    assert get_slot(site) == first
    assert [pull["digest"] for pull in site.read_audit("pull")] == [old, new]
    kill_container(site, first["container"])
    eventually(lambda: get_slot(site)["state"] == "starting", 10, "the engine has seen it")
    site.run_once()
    assert get_slot(site)["digest"] == new


def test_bad_push_rolls_back_and_the_next_good_one_recovers(site: Site) -> None:
    """An image that exits at once is quarantined, the last good one runs; the next good push is taken."""
    site.write_config(failures={"initial": "10ms", "longest": "20ms"})
    good = site.push_image()
    site.run_once()
    site.run_once()
    assert site.get_image_record()["known_good"][0]["digest"] == good
    bad = site.push_image("echo no good; exit 3")
    kill_container(site, get_slot(site)["container"])

    def has_rolled_back() -> bool:
        site.run_once(None)
        status = get_slot(site)
        return bool(status["container"]) and status["digest"] == good and bad in site.get_image_record()["quarantine"]

    eventually(has_rolled_back, 30, "rolled back")
    assert "no good" in site.read_audit("container-output")[-1]["sentence"]
    assert [entry["digest"] for entry in site.read_audit("quarantine")] == [bad]
    assert "printed last: no good" in site.run_verb("explain", SLOT).stdout
    assert "(quarantined)" in site.run_verb("status").stdout
    pulls = len(site.read_audit("pull"))
    for _ in range(3):
        site.run_once()
    assert len(site.read_audit("pull")) == pulls
    fixed = site.push_image(format_healthy_script("# fixed\nsleep 100000"))
    site.run_once()
    kill_container(site, get_slot(site)["container"])
    eventually(lambda: get_slot(site)["state"] == "starting", 10, "the engine has seen it")
    site.run_once()
    assert get_slot(site)["digest"] == fixed


def test_last_words_are_completed(site: Site) -> None:
    """A killed container's last words say afterwards that it was killed, its status, and who completed them."""
    site.push_image(format_healthy_script().replace('"container_name"', '"container_id": "ID", "container_name"'))
    site.run_once()
    words = site.folder / "state/slots/wn-01/last-words.json"
    eventually(words.exists, 5, "it speaks")
    name = get_slot(site)["container"]
    full = site.ask_engine(f"/containers/{name}/json")["Id"]
    words.write_text(words.read_text().replace("ID", full))
    kill_container(site, name)
    eventually(lambda: get_slot(site)["state"] == "starting", 10, "the engine has seen it")

    site.write_config({"count": 1, "name": "other-NN"})  # so that the slot's next life does not write over them
    site.run_once()
    document = json.loads(words.read_text())
    assert (document["state"], document["reason"]) == ("ended", "killed")
    assert (document["exit_code"], document["completed_by"]) == (137, "watchdog")


def test_left_over_names_and_containers(site: Site) -> None:
    """The dead container is removed; the slot's next life has a name of its own."""
    site.push_image()
    site.run_once()
    name = get_slot(site)["container"]
    kill_container(site, name)
    eventually(lambda: get_slot(site)["state"] == "starting", 10, "the engine has seen it")
    site.run_once()
    names = [entry["sentence"] for entry in site.read_audit("remove")]
    assert any(name in sentence for sentence in names)
    assert get_slot(site)["container"] != name


def test_stopping_is_left_alone(site: Site) -> None:
    """While somebody's `stop` waits for a container to end in order, its slot is neither cleared nor filled."""
    shared = "/var/lib/autopilot"
    ends = f"touch {shared}/stopping; until test -e {shared}/released; do sleep 0.1; done; exit 0"
    site.push_image(format_healthy_script(f"trap '{ends}' TERM\nwhile true; do sleep 0.1; done"))
    site.run_once()
    first = get_slot(site)["container"]
    client = EngineClient(site.engine, site.service.socket)
    stop = threading.Thread(target=client.request_json, args=("POST", f"/containers/{first}/stop", {"t": "120"}))
    stop.start()
    eventually((site.state_folder / "slots/wn-01/stopping").exists, 10, "it has been told to end")
    site.run_once()
    assert get_slot(site)["container"] == first
    assert not site.read_audit("remove") and len(site.read_audit("start")) == 1
    (site.state_folder / "slots/wn-01/released").touch()
    stop.join()
    eventually(lambda: is_slot_empty(site), 20, "it has ended")
    site.run_once()
    assert get_slot(site)["container"] not in (None, first)


def test_name_that_is_taken(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that somebody else's container has is not used a second time: another one is drawn."""
    digest = site.push_image()
    site.run_once()
    taken = get_slot(site)["container"]
    drawn = iter([taken.rpartition("-")[2], "00c0ffee"])
    monkeypatch.setattr("autopilot_watchdog.engine.docker_engine.secrets.token_hex", lambda size: next(drawn))
    engine = create_engine(site.engine, site.service.socket, "somebody else")
    id = engine.start_container(load_config(site.config).slots[0], 1, digest, host="h1", state_folder=None)
    assert [found.name for found in engine.list_containers() if found.id == id] == [f"{SLOT}-00c0ffee"]
    assert get_slot(site)["container"] == taken
