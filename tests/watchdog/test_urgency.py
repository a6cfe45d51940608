"""A security fix, on real engines: old containers are asked to drain, what they run is never killed."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator

import pytest

from lab.consul_agents import Agent, find_program, start_agent
from lab.tiny_images import LAST_WORDS, format_healthy_script
from tests.watchdog.site import Site, eventually

pytestmark = pytest.mark.real("docker", "podman", "registry")

NEVER = {"rings": [{"share": "0.0001%", "after": "0s"}, {"share": "100%", "after": "10h"}]}


def format_drainable_script(version: int) -> str:
    """A life with one job of 2 s at its end: asked to drain it says so, lets the job finish, and ends in order."""
    ended = {**LAST_WORDS, "state": "ended", "reason": "drain", "exit_code": 0, "payloads_killed": 0}
    words = json.dumps({**ended, "container_name": "NAME"}).replace("NAME", "'$AUTOPILOT_CONTAINER_NAME'")
    folder = "/var/lib/autopilot"
    return format_healthy_script(
        f"# version {version}\nuntil test -e /tmp/drain; do sleep 0.1; done\nsleep 2\necho job done\n"
        f"echo '{words}' > {folder}/.new && mv {folder}/.new {folder}/last-words.json\n"
    )


@pytest.fixture
def two_slots(site: Site) -> str:
    """Two containers of an old image, on a host whose turn for a new one comes in ten hours. Returns the old digest."""
    site.write_config({"count": 2, "drain": ["touch", "/tmp/drain"]}, rollout=NEVER)
    old = site.push_image(format_drainable_script(1))
    site.run_once()
    site.run_once()
    assert {slot["digest"] for slot in site.get_slots().values()} == {old}
    return old


def is_running_everywhere(site: Site, digest: str) -> bool:
    """Return True if every slot runs the digest."""
    return all(slot["container"] and slot["digest"] == digest for slot in site.get_slots().values())


def assert_drained_one_by_one(site: Site) -> None:
    """First a canary; the other slot when the new digest is good; every life ended by itself, with its job done."""
    events = [entry["event"] for entry in site.read_audit() if entry["event"] in ("drain", "remove", "start")]
    assert events[-6:] == ["drain", "remove", "start"] * 2
    for removal in site.read_audit("remove"):
        assert (removal["code"], removal["verdict"]) == ("drain", "good"), removal


def test_label(site: Site, two_slots: str) -> None:
    """A push with the label autopilot.urgency takes both slots, one after the other, long before its ring's turn."""
    new = site.push_image(format_drainable_script(2), labels={"autopilot.urgency": "now"})
    with site.run_watch():
        eventually(lambda: is_running_everywhere(site, new), 60, "both slots have the fix")
    assert_drained_one_by_one(site)


@pytest.fixture
def consul(site: Site) -> Iterator[Agent]:
    """Start a Consul agent and configure it."""
    with start_agent() as found:
        site.write_config(consul={"address": f"http://{found.http_address}"})
        yield found


def set_urgency(consul: Agent, urgency: str) -> None:
    """As an administrator does."""
    command = [find_program(), "kv", "put", f"-http-addr={consul.http_address}", "autopilot-watchdog/urgency", urgency]
    subprocess.run(command, check=True, capture_output=True)


@pytest.mark.real("consul")
def test_key(site: Site, consul: Agent, two_slots: str) -> None:
    """The key in Consul does the same for an image without the label, rings and all; without it nothing happens."""
    new = site.push_image(format_drainable_script(2))
    site.run_once()
    assert is_running_everywhere(site, two_slots)
    assert "this host's turn for the newest comes in" in site.run_verb("explain", "wn-01").stdout
    set_urgency(consul, "now")
    with site.run_watch():
        eventually(lambda: is_running_everywhere(site, new), 60, "both slots have the fix")
    assert_drained_one_by_one(site)


@pytest.mark.real("consul")
def test_mistyped(site: Site, consul: Agent, two_slots: str) -> None:
    """A key that is neither "now" nor a date drains nothing and lifts no ring, and `explain` says so."""
    site.push_image(format_drainable_script(2))
    set_urgency(consul, "nwo")
    site.run_once()
    site.run_once()
    assert is_running_everywhere(site, two_slots) and not site.read_audit("drain")
    assert 'the urgency "nwo" is neither "now" nor a date' in site.run_verb("explain", "wn-01").stdout
