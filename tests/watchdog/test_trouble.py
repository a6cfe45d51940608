"""What goes wrong on real hosts, done to real engines and a real registry."""

from __future__ import annotations

import base64
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.faults import Wire, wire
from lab.registry import Registry, registry
from lab.tiny import good_life
from tests.watchdog.site import Site, eventually
from tests.watchdog.test_engines import SLOT, container, kill

pytestmark = pytest.mark.real("docker", "podman", "registry")

V2 = good_life("# 2\nsleep 100000")


@pytest.fixture
def faulty(site: Site) -> Iterator[Wire]:
    """The wire between the host and the registry."""
    with wire(site.registry.port) as found:
        site.through(found.address)
        yield found


def emptied(site: Site) -> None:
    """The slot's container is killed, and the engine has seen it."""
    kill(site, container(site)["container"])
    eventually(lambda: not container(site)["container"], 10, "the engine has seen it")


def test_truncated_pull(site: Site) -> None:
    """Half a layer is a failure, whatever the engine says; the slot gets the last good digest, later the new one."""
    good = site.push()
    site.run()
    site.run()
    new = site.push(V2, bulk=2_000_000)
    blob = max(
        site.registry.folder.glob("data/**/blobs/**/data"),
        key=lambda path: path.stat().st_mtime * (path.stat().st_size > 2_000_000),
    )
    whole = blob.read_bytes()
    blob.write_bytes(whole[: len(whole) // 2])
    emptied(site)
    assert "pull-failed" in site.run(75)
    assert container(site)["digest"] == good
    blob.write_bytes(whole)
    emptied(site)
    assert container(site)["state"] == "starting"
    site.run()
    assert container(site)["digest"] == good, "its back-off is not over"
    retried(site, new)
    emptied(site)
    site.run()
    assert container(site)["digest"] == new


def retried(site: Site, digest: str) -> None:
    """As if the back-off of the digest's pull were over."""
    state = site.state()
    state["images"][f"{site.engine} {site.reference}"]["trials"][digest]["not_before"] = 0
    (site.folder / "state/state.json").write_text(json.dumps(state))


@pytest.mark.parametrize("fault", ["down", "slow"])
def test_registry_out_of_reach(site: Site, faulty: Wire, fault: str) -> None:
    """Without an answer from the registry a slot is refilled with what is there, and the journal says so."""
    good = site.push()
    site.run()
    site.run()
    if fault == "slow":
        faulty.delay = 5  # more than registry.timeout
    else:
        faulty.cut = 0
    emptied(site)
    said = site.run()
    assert "cannot reach" in said
    status = container(site)
    assert (status["state"], status["digest"]) == ("running", good)


def test_first_start_without_registry(site: Site, faulty: Wire) -> None:
    """A new host without a registry says why it has no image, and recovers by itself."""
    site.push()
    faulty.cut = 0
    site.run()
    assert container(site)["state"] == "no-image"
    faulty.cut = None
    site.run()
    assert container(site)["state"] == "running"


@pytest.fixture
def private(site: Site) -> Iterator[Registry]:
    """A registry that lets only its user in."""
    with registry("alice", "wonder land") as found:
        site.registry = found
        site.through(found.address)
        yield found


def test_private_registry(site: Site, private: Registry) -> None:
    """401 is said with its remedy; with config.json, then with a credential helper, the slot is filled."""
    login = site.folder / "login"
    login.mkdir()
    entry = {"auth": base64.b64encode(b"alice:wonder land").decode()}
    (login / "config.json").write_text(json.dumps({"auths": {private.address: entry}}))
    digest = site.push(login=str(login))
    assert "401" in site.run()
    assert "credentials" in container(site)["sentence"]
    docker = site.folder / "docker"
    docker.mkdir()
    (docker / "config.json").write_bytes((login / "config.json").read_bytes())
    site.run()
    assert container(site)["digest"] == digest
    helper = site.folder / "bin/docker-credential-lab"
    helper.parent.mkdir()
    helper.write_text('#!/bin/sh\ncat >/dev/null; echo \'{"Username": "alice", "Secret": "wonder land"}\'\n')
    helper.chmod(0o755)
    site.path = f"{helper.parent}:{os.environ['PATH']}"
    (docker / "config.json").write_text(json.dumps({"credHelpers": {private.address: "lab"}}))
    digest = site.push(V2, login=str(login))
    emptied(site)
    site.run()
    assert container(site)["digest"] == digest
    (docker / "config.json").write_text(json.dumps({"credHelpers": {private.address: "missing"}}))
    assert "cannot ask docker-credential-missing" in site.run()


def test_engine_down(site: Site) -> None:
    """An engine that is down: exit 75, the slot is unknown, nothing is started; after the reboot it is refilled."""
    site.push()
    site.run()
    first = container(site)["container"]
    site.service.crash()
    try:
        said = site.run(75)
        assert f"cannot reach {site.engine}" in said
        assert container(site)["state"] == "engine-unknown"
    finally:
        site.service.start()
    eventually(lambda: container(site)["state"] == "starting", 20, "the engine has ended what it lost")
    site.run()
    status = container(site)
    assert status["state"] == "running" and status["container"] != first


def test_engine_dies_in_mid_pass(site: Site, faulty: Wire) -> None:
    """An engine that dies during a pull ends the pass with 75 and a sound state; the next pass goes on."""
    digest = site.push(good_life(), bulk=3_000_000)
    faulty.delay = 0.2
    process = subprocess.Popen(site.command("run"), stderr=subprocess.PIPE, env=site.env(), text=True)
    log = site.folder / "state/audit.jsonl"
    eventually(lambda: log.exists() and "news" in log.read_text(), 20, "the pull has begun")
    site.service.crash()
    try:
        _, said = process.communicate(timeout=60)
        assert process.returncode == 75, said
    finally:
        site.service.start()
    faulty.delay = 0
    retried(site, digest)
    site.run()
    assert container(site)["state"] == "running"


@pytest.fixture
def small_disk(site: Site) -> Iterator[Path]:
    folder = site.folder / "state"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)], check=True)
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_disk_full(site: Site, small_disk: Path) -> None:
    """Who cannot remember does nothing: with a full disk the pass ends with 73, and the slot stays as it is."""
    site.push()
    site.write(audit=str(site.folder / "audit.jsonl"))
    site.run()
    emptied(site)
    with (small_disk / "fill").open("wb") as file, pytest.raises(OSError):
        file.write(b"x" * 300_000)
        file.flush()
    said = site.run(73)
    assert "No space left" in said
    assert not container(site)["container"]
    (small_disk / "fill").unlink()
    site.run()
    assert container(site)["state"] == "running"


def test_low_disk_is_the_hosts_problem(site: Site) -> None:
    """Below `fitness.free_disk` nothing is started, and the reason says how much is missing."""
    site.push()
    site.write(fitness={"free_disk": "4000 TB"})
    site.run()
    status = container(site)
    assert status["state"] == "host-unfit"
    assert "GB are needed" in status["sentence"]


def test_two_watchdogs(site: Site) -> None:
    """While one is at work the second leaves with exit 0 and says why."""
    site.push()
    site.run()
    import fcntl

    with (site.folder / "state/lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert "another watchdog is at work" in site.run()
    site.run()


def test_damaged_state(site: Site) -> None:
    """A state that cannot be understood is kept aside and said; what runs, runs on."""
    site.push()
    site.run()
    first = container(site)
    (site.folder / "state/state.json").write_text('{"format": 1, "slots": [')
    assert "kept as" in site.run(73)
    site.run()
    assert container(site)["container"] == first["container"]


def test_signature_and_preflight(site: Site) -> None:
    """A digest whose signature or pre-flight is refused is not started; the last good one is."""
    good = site.push()
    check = site.folder / "verify"
    check.write_text('#!/bin/sh\necho "$1" >> "$0.log"; test ! -e "$0.refuse" || { echo "not signed" >&2; exit 1; }\n')
    check.chmod(0o755)
    site.write({"verify": {"exec": [str(check), "{image}"]}, "preflight": {"exec": ["ls", "/start"]}})
    site.run()
    site.run()
    assert container(site)["digest"] == good
    assert good in (site.folder / "verify.log").read_text()
    (site.folder / "verify.refuse").touch()
    site.push(V2)
    emptied(site)
    assert "not signed" in site.run()
    assert container(site)["digest"] == good


def test_operator(site: Site) -> None:
    """pause, resume, pin, unpin, rollback, release, explain and --dry-run on a real host."""
    good = site.push()
    site.run()
    site.run()
    assert site.call("pause").returncode == 0
    emptied(site)
    site.run()
    assert not container(site)["container"]
    assert "paused" in site.call("explain", SLOT).stdout
    site.call("resume")
    dry = site.call("run", "--dry-run").stdout
    assert "would start: wn-01, sha256:" in dry and not container(site)["container"]
    new = site.push(V2)
    assert site.call("pin", good[7:20]).returncode == 0
    site.run()
    assert container(site)["digest"] == good
    site.call("unpin")
    emptied(site)
    site.run()
    assert container(site)["digest"] == new
    site.run()
    assert site.call("rollback").returncode == 0
    emptied(site)
    site.run()
    assert container(site)["digest"] == good
    assert "quarantined" in site.call("explain", SLOT).stdout
    assert site.call("release", new).returncode == 0
    assert site.call("release", new).returncode == 64
    text = (site.folder / "watchdog.prom").read_text()
    assert 'autopilot_watchdog_slots{code="running"} 1.0' in text
    assert "autopilot_watchdog_last_pass_timestamp_seconds" in text


def test_one_request_per_pass(site: Site) -> None:
    """A pass that asks the registry asks it once, with HEAD; a new digest costs two GETs more, once."""
    site.push()
    site.run()
    path = site.folder.name.lower()
    site.write(registry={"check_every": "0s", "fresh": "0s"})
    before = site.registry.requests("HEAD", path), site.registry.requests("GET", path)
    for _ in range(3):
        site.run()
    after = site.registry.requests("HEAD", path), site.registry.requests("GET", path)
    assert (after[0] - before[0], after[1] - before[1]) == (3, 0)
