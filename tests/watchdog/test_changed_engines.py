"""Changes of the configuration on real engines: another engine, fewer slots, other names."""

from __future__ import annotations

import json
import signal

import pytest

from lab.dockerd import DockerDaemon
from lab.podman_engine import Podman
from lab.tiny_images import format_healthy_script
from tests.watchdog.site import Site, eventually
from tests.watchdog.test_engines import SLOT, get_slot, is_refilled, is_slot_empty, kill_container

pytestmark = pytest.mark.real("docker", "podman", "registry")

DRAINABLE = "until test -e /tmp/drain; do sleep 0.1; done"


def test_docker_to_podman_and_fewer_slots(docker_site: Site, docker: DockerDaemon, podman_service: Podman) -> None:
    """Docker's containers keep their slots, the surplus one drains, and each next life is on Podman, once."""
    site = docker_site
    site.push_image(format_healthy_script(DRAINABLE))
    scratch = site.folder / "scratch"
    for number in ("01", "02"):
        (scratch / number).mkdir(parents=True)
    site.write_config(
        {"count": 2, "volumes": [f"{scratch}/{{number}}:/scratch"], "drain": ["touch", "/tmp/drain"]},
    )
    site.run_once()
    first = get_slot(site)["container"]
    (container,) = [item for item in site.ask_engine("/containers/json") if f"/{first}" in item["Names"]]
    assert json.loads(container["Labels"]["autopilot.claims"])["own"] == [f"folder {scratch}/01"]

    engines = {"docker": docker.socket, "podman": podman_service.socket}
    site.write_config({"count": 1, "engine": "podman"}, engines=engines, surplus="keep")
    try:
        site.run_once()
        slots = site.get_slots()
        assert slots[SLOT]["container"] == first and slots["wn-02"]["state"] == "surplus"
        assert f"it has for itself: folder {scratch}/02" in site.run_verb("explain", "wn-02").stdout
        site.write_config(surplus="drain")
        site.run_once()
        eventually(lambda: "wn-02" not in site.get_slots(), 20, "the surplus container has drained")
        kill_container(site, first)
        eventually(lambda: is_slot_empty(site), 20, "the engine has seen it")
        site.run_once()
        assert is_refilled(site, first)
        assert podman_service.run("ps", "--quiet", "--filter", f"label=autopilot.watchdog={site.state_folder}").split()
        assert not docker.engine.run("ps", "--quiet", "--filter", f"label=autopilot.watchdog={site.state_folder}")
    finally:
        podman_service.run("rm", "--all", "--force", "--time=0", check=False)


def test_other_names(site: Site) -> None:
    """A slot under another name starts when the container that has its folder has drained; another state is refused."""
    site.push_image(format_healthy_script(DRAINABLE))
    (site.folder / "scratch").mkdir()
    site.write_config({"volumes": [f"{site.folder}/scratch:/scratch"], "drain": ["touch", "/tmp/drain"]})
    site.run_once()
    state, container = str(site.state_folder), get_slot(site)["container"]
    site.write_config(state=f"{state}-new")
    refused = site.run_once(78)
    assert f"run under {state} ({container})" in refused and "filled a second time" in refused
    assert f"every pass is refused: cannot use the state folder {state}-new" in site.run_verb("status").stderr
    former = site.config
    site.config = former.rename(site.folder / "renamed.json")
    assert f"run under {state} ({container})" in site.run_once(78), "also when the file has another name"
    site.config = site.config.rename(former)
    site.write_config({"name": "node-NN"}, state=state, surplus="keep")
    site.run_once()
    assert {name: row["state"] for name, row in site.get_slots().items()} == {
        "wn-01": "surplus",
        "node-01": "resource-busy",
    }
    site.write_config(surplus="drain")
    site.run_once()
    eventually(lambda: "wn-01" not in site.get_slots(), 20, "the surplus container has drained")
    site.run_once()
    assert {name: row["state"] for name, row in site.get_slots().items()} == {"node-01": "running"}


def test_watch_reloads(docker_site: Site) -> None:
    """`watch` takes a changed file at SIGHUP and survives a bad one; the timer's `run` keeps the same slots."""
    site = docker_site
    site.push_image()
    with site.run_watch() as watch:
        eventually(lambda: get_slot(site)["container"], 30, "the slot is filled")
        site.write_config({"count": 2})
        watch.send_signal(signal.SIGHUP)
        eventually(lambda: site.get_slots().get("wn-02", {}).get("container"), 30, "the new slot is filled")
        before = {name: row["container"] for name, row in site.get_slots().items()}
        site.run_once()
        assert {name: row["container"] for name, row in site.get_slots().items()} == before
        valid = site.config.read_text()
        site.config.write_text("{")
        watch.send_signal(signal.SIGHUP)
        eventually(lambda: site.read_audit("config-refused"), 30, "the file is refused")
        textfile = site.folder / "watchdog.prom"
        eventually(lambda: "config_refused_timestamp_seconds 1." in textfile.read_text(), 30, "the metric says so")
        assert site.run_verb("run").returncode == 78 and watch.poll() is None
        loaded = len(site.read_audit("config-loaded"))
        site.config.write_text(valid)
        watch.send_signal(signal.SIGHUP)
        eventually(lambda: len(site.read_audit("config-loaded")) > loaded, 30, "the file is used again")
        kill_container(site, before["wn-01"])
        eventually(lambda: is_refilled(site, before["wn-01"]), 30, "the slot is refilled")
        assert watch.poll() is None
