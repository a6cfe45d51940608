"""Troubles of real hosts, made on real engines and a real registry."""

from __future__ import annotations

import base64
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.faults import FaultyProxy, start_faulty_proxy
from lab.registry_server import Registry, start_registry
from lab.tiny_images import format_healthy_script
from tests.watchdog.site import Site, eventually
from tests.watchdog.test_engines import SLOT, get_slot, is_slot_empty, kill_container

pytestmark = pytest.mark.real("docker", "podman", "registry")

V2 = format_healthy_script("# 2\nsleep 100000")


@pytest.fixture
def faulty(site: Site) -> Iterator[FaultyProxy]:
    """Put a faulty proxy between the host and the registry."""
    with start_faulty_proxy(site.registry.port) as found:
        site.use_registry_address(found.address)
        yield found


def clear_slot(site: Site) -> None:
    """Kill the slot's container and wait until the engine has seen it."""
    kill_container(site, get_slot(site)["container"])
    eventually(lambda: is_slot_empty(site), 10, "the engine has seen it")


def test_truncated_pull(site: Site) -> None:
    """Half a layer is a failure, whatever the engine says; the slot gets the last good digest, later the new one."""
    good = site.push_image()
    site.run_once()
    site.run_once()
    new = site.push_image(V2, bulk=2_000_000)
    blob = max(
        site.registry.folder.glob("data/**/blobs/**/data"),
        key=lambda path: path.stat().st_mtime * (path.stat().st_size > 2_000_000),
    )
    content = blob.read_bytes()
    blob.write_bytes(content[: len(content) // 2])
    clear_slot(site)
    assert "pull-failed" in site.run_once(75)
    assert get_slot(site)["digest"] == good
    blob.write_bytes(content)
    clear_slot(site)
    assert get_slot(site)["state"] == "starting"
    site.run_once()
    assert get_slot(site)["digest"] == good, "its back-off is not over"
    clear_retry_delay(site, new)
    clear_slot(site)
    site.run_once()
    assert get_slot(site)["digest"] == new


def clear_retry_delay(site: Site, digest: str) -> None:
    """End the back-off of the digest's pull."""
    state = site.read_state()
    state["images"][f"{site.engine} {site.reference}"]["records"][digest]["not_before"] = 0
    (site.folder / "state/state.json").write_text(json.dumps(state))


@pytest.mark.parametrize("fault", ["down", "slow"])
def test_registry_out_of_reach(site: Site, faulty: FaultyProxy, fault: str) -> None:
    """Without an answer from the registry a slot is refilled with what is there, and the journal says so."""
    good = site.push_image()
    site.run_once()
    site.run_once()
    if fault == "slow":
        faulty.delay_s = 5  # more than registry.timeout
    else:
        faulty.cut_after_bytes = 0
    clear_slot(site)
    output = site.run_once()
    assert "cannot reach" in output
    status = get_slot(site)
    assert (status["state"], status["digest"]) == ("running", good)


def test_first_start_without_registry(site: Site, faulty: FaultyProxy) -> None:
    """A new host without a registry says why it has no image, and recovers by itself."""
    site.push_image()
    faulty.cut_after_bytes = 0
    site.run_once()
    assert get_slot(site)["state"] == "no-image"
    faulty.cut_after_bytes = None
    site.run_once()
    assert get_slot(site)["state"] == "running"


@pytest.fixture
def private(site: Site) -> Iterator[Registry]:
    """A registry that lets only its user in."""
    with start_registry("alice", "wonder land") as found:
        site.registry = found
        site.use_registry_address(found.address)
        yield found


def test_private_registry(site: Site, private: Registry) -> None:
    """401 is said with its remedy; with config.json, then with a credential helper, the slot is filled."""
    login = site.folder / "login"
    login.mkdir()
    entry = {"auth": base64.b64encode(b"alice:wonder land").decode()}
    (login / "config.json").write_text(json.dumps({"auths": {private.address: entry}}))
    digest = site.push_image(login=str(login))
    assert "401" in site.run_once()
    assert "credentials" in get_slot(site)["sentence"]
    docker = site.folder / "docker"
    docker.mkdir()
    (docker / "config.json").write_bytes((login / "config.json").read_bytes())
    site.run_once()
    assert get_slot(site)["digest"] == digest
    helper = site.folder / "bin/docker-credential-lab"
    helper.parent.mkdir()
    helper.write_text('#!/bin/sh\ncat >/dev/null; echo \'{"Username": "alice", "Secret": "wonder land"}\'\n')
    helper.chmod(0o755)
    site.path = f"{helper.parent}:{os.environ['PATH']}"
    (docker / "config.json").write_text(json.dumps({"credHelpers": {private.address: "lab"}}))
    digest = site.push_image(V2, login=str(login))
    clear_slot(site)
    site.run_once()
    assert get_slot(site)["digest"] == digest
    (docker / "config.json").write_text(json.dumps({"credHelpers": {private.address: "missing"}}))
    assert "cannot ask docker-credential-missing" in site.run_once()


def test_engine_down(site: Site) -> None:
    """An engine that is down: exit 75, the slot is unknown, nothing is started; after the reboot it is refilled."""
    site.push_image()
    site.run_once()
    first = get_slot(site)["container"]
    with site.crash_engine():
        output = site.run_once(75)
        assert f"cannot reach {site.engine}" in output
        assert get_slot(site)["state"] == "engine-unknown"
    eventually(lambda: get_slot(site)["state"] == "starting", 20, "the engine has ended what it lost")
    site.run_once()
    status = get_slot(site)
    assert status["state"] == "running" and status["container"] != first


def test_engine_dies_in_mid_pass(site: Site, faulty: FaultyProxy) -> None:
    """An engine that dies during a pull ends the pass with 75 and a sound state; the next pass goes on."""
    digest = site.push_image(format_healthy_script(), bulk=3_000_000)
    faulty.delay_s = 0.2
    process = subprocess.Popen(
        site.build_command("run"), stderr=subprocess.PIPE, env=site.build_environment(), text=True
    )
    log = site.folder / "state/audit.jsonl"
    eventually(lambda: log.exists() and "new-digest" in log.read_text(), 20, "the pull has begun")
    with site.crash_engine():
        _, output = process.communicate(timeout=60)
        assert process.returncode == 75, output
    faulty.delay_s = 0
    clear_retry_delay(site, digest)
    site.run_once()
    assert get_slot(site)["state"] == "running"


@pytest.fixture
def small_disk(site: Site) -> Iterator[Path]:
    """Mount a file system of 256 KiB as the state folder."""
    folder = site.folder / "state"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)], check=True)
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_disk_full(site: Site, small_disk: Path) -> None:
    """Without a written memory nothing is started: with a full disk the pass ends with 73, the slot stays as it is."""
    site.push_image()
    site.write_config(audit=str(site.folder / "audit.jsonl"))
    site.run_once()
    clear_slot(site)
    with (small_disk / "fill").open("wb") as file, pytest.raises(OSError):
        file.write(b"x" * 300_000)
        file.flush()
    output = site.run_once(73)
    assert "No space left" in output
    assert not get_slot(site)["container"]
    (small_disk / "fill").unlink()
    site.run_once()
    assert get_slot(site)["state"] == "running"


def test_low_disk_is_the_hosts_problem(site: Site) -> None:
    """Below `fitness.free_disk` nothing is started, and the reason says how much is missing."""
    site.push_image()
    site.write_config(fitness={"free_disk": "4000 TB"})
    site.run_once()
    status = get_slot(site)
    assert status["state"] == "host-unfit"
    assert "GB are needed" in status["sentence"]


def test_two_watchdogs(site: Site) -> None:
    """While one is at work the second leaves with exit 0 and says why."""
    site.push_image()
    site.run_once()
    import fcntl

    with (site.folder / "state/lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert "another watchdog is at work" in site.run_once()
    site.run_once()


def test_damaged_state(site: Site) -> None:
    """A state that cannot be understood is kept aside and said; what runs, runs on."""
    site.push_image()
    site.run_once()
    first = get_slot(site)
    (site.folder / "state/state.json").write_text('{"format": 2, "slots": [')
    assert "kept as" in site.run_once(73)
    site.run_once()
    assert get_slot(site)["container"] == first["container"]


def test_signature_and_preflight(site: Site) -> None:
    """A digest whose signature or pre-flight is refused is not started; the last good one is."""
    good = site.push_image()
    check = site.folder / "verify"
    check.write_text('#!/bin/sh\necho "$1" >> "$0.log"; test ! -e "$0.refuse" || { echo "not signed" >&2; exit 1; }\n')
    check.chmod(0o755)
    site.write_config({"verify": {"exec": [str(check), "{image}"]}, "preflight": {"exec": ["ls", "/start"]}})
    site.run_once()
    site.run_once()
    assert get_slot(site)["digest"] == good
    assert good in (site.folder / "verify.log").read_text()
    (site.folder / "verify.refuse").touch()
    site.push_image(V2)
    clear_slot(site)
    assert "not signed" in site.run_once()
    assert get_slot(site)["digest"] == good


def test_operator(site: Site) -> None:
    """pause, resume, pin, unpin, rollback, release, explain and --dry-run on a real host."""
    good = site.push_image()
    site.run_once()
    site.run_once()
    assert site.run_verb("pause").returncode == 0
    clear_slot(site)
    site.run_once()
    assert not get_slot(site)["container"]
    assert "paused" in site.run_verb("explain", SLOT).stdout
    site.run_verb("resume")
    dry = site.run_verb("run", "--dry-run").stdout
    assert "would start: wn-01, sha256:" in dry and not get_slot(site)["container"]
    new = site.push_image(V2)
    assert site.run_verb("pin", good[7:20]).returncode == 0
    site.run_once()
    assert get_slot(site)["digest"] == good
    site.run_verb("unpin")
    clear_slot(site)
    site.run_once()
    assert get_slot(site)["digest"] == new
    site.run_once()
    assert site.run_verb("rollback").returncode == 0
    clear_slot(site)
    site.run_once()
    assert get_slot(site)["digest"] == good
    assert "quarantined" in site.run_verb("explain", SLOT).stdout
    assert site.run_verb("release", new).returncode == 0
    assert site.run_verb("release", new).returncode == 64
    text = (site.folder / "watchdog.prom").read_text()
    assert 'autopilot_watchdog_slots{code="running"} 1.0' in text
    assert "autopilot_watchdog_last_pass_timestamp_seconds" in text


def test_one_request_per_pass(site: Site) -> None:
    """A pass that asks the registry asks it once, with HEAD; a new digest costs two GETs more, once."""
    site.push_image()
    site.run_once()
    path = site.folder.name.lower()
    site.write_config(registry={"check_every": "0s", "fresh": "0s"})
    before = site.registry.count_requests("HEAD", path), site.registry.count_requests("GET", path)
    for _ in range(3):
        site.run_once()
    after = site.registry.count_requests("HEAD", path), site.registry.count_requests("GET", path)
    assert (after[0] - before[0], after[1] - before[1]) == (3, 0)
