"""The operator's verbs on a real engine and a real registry, as an operator gives them."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from lab.tiny_images import format_healthy_script
from tests.watchdog.site import Site, eventually
from tests.watchdog.test_engines import get_slot, is_slot_empty

pytestmark = pytest.mark.real("docker", "registry")

# ends in order at SIGTERM; a drain is a file
WORKER = format_healthy_script(
    "trap 'echo bye; exit 0' TERM\necho hello\nwhile ! test -e /tmp/drain; do sleep 0.1; done\necho drained"
)
FAR_DIGEST = f"sha256:{'0' * 64}"


def run_verb(site: Site, *words: str, status: int = 0) -> str:
    """Run a verb that must end with this status; return everything that it printed."""
    done = site.run_verb(*words)
    assert done.returncode == status, f"{words}: exit {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout + done.stderr


@contextmanager
def follow_log(site: Site, slot: str) -> Iterator[subprocess.Popen[str]]:
    """Run `logs SLOT -f` until the end of the block."""
    process = subprocess.Popen(
        site.build_command("logs", slot, "-f"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=site.build_environment(),
    )
    with process:
        yield process
        process.kill()


def test_slots_are_emptied_and_looked_into(docker_site: Site) -> None:
    """Drained, retired and stopped slots do as the verbs say, and their lives can be read afterwards."""
    site = docker_site
    site.push_image(WORKER)
    site.write_config({"count": 3, "drain": ["touch", "/tmp/drain"]})
    site.run_once()
    assert "hello" in run_verb(site, "logs", "wn-01")
    with follow_log(site, "wn-01") as follower:
        assert follower.stdout is not None and follower.stderr is not None
        assert follower.stdout.readline() == "hello\n", "it comes before the container ends"
        first = get_slot(site)["container"]
        printed = run_verb(site, "drain", "wn-01", "--wait", "--timeout", "5m")
        assert f"{first} was asked to drain" in printed and f"{first} has ended" in printed
        assert is_slot_empty(site)
        assert follower.wait(60) == 0
        assert (follower.stdout.read(), follower.stderr.read()) == ("drained\n", f"{first} has ended\n")
    assert run_verb(site, "exec", "wn-02", "--", "sh", "-c", "echo inside; exit 7", status=7) == "inside\n"
    assert "there is no slot wn-09" in run_verb(site, "drain", "wn-09", status=64)

    site.run_once()
    assert get_slot(site)["container"] not in (None, first)
    assert "drained" in run_verb(site, "logs", "wn-01", "--life", "1")
    (life,) = json.loads(run_verb(site, "history", "wn-01", "-o", "json"))["lives"]
    assert life["container"] == first and life["digest"] == get_slot(site)["digest"] and life["exit_code"] == 0
    assert first in run_verb(site, "history", "wn-01")

    run_verb(site, "retire", "wn-02", "--reason", "new disk")
    run_verb(site, "stop", "wn-03")
    eventually(lambda: is_slot_empty(site, "wn-02") and is_slot_empty(site, "wn-03"), 20, "both have ended")
    site.run_once()
    assert [slot["state"] for slot in site.get_slots().values()] == ["running", "cordoned", "cordoned"]
    assert "bye" in run_verb(site, "logs", "wn-03"), "the output of an empty slot is that of its last life"
    assert "(new disk)" in run_verb(site, "explain", "wn-02")

    run_verb(site, "drain", "--host", "--wait", "--timeout", "5m")
    site.run_once()
    assert {slot["state"] for slot in site.get_slots().values()} == {"cordoned"}
    run_verb(site, "uncordon")
    site.run_once()
    assert {slot["state"] for slot in site.get_slots().values()} == {"running"}
    assert {entry["by"] for entry in site.read_audit("order")} and "by" in site.read_audit("drain")[0]

    removed = get_slot(site)["container"]
    site.builder.run("rm", "--force", removed)
    site.run_once()
    assert get_slot(site)["container"] not in (None, removed)
    life = json.loads(run_verb(site, "history", "wn-01", "-o", "json"))["lives"][-1]
    assert (life["container"], life["code"], life["exit_code"]) == (removed, "removed-by-hand", None)
    assert life["digest"] == get_slot(site)["digest"] and life["image"] == site.reference and life["started"] > 0
    (entry,) = site.read_audit("container-lost")
    assert entry["slot"] == "wn-01" and removed in entry["sentence"]


def test_pin_is_refused_if_nobody_has_it(docker_site: Site) -> None:
    """A digest that neither host nor registry has is refused; one that nobody can tell of needs --force."""
    site = docker_site
    digest = site.push_image()
    assert "neither this host nor the registry has" in run_verb(site, "pin", FAR_DIGEST, status=64)
    run_verb(site, "pin", digest)  # not on this host, but in the registry
    site.run_once()
    site.document["slots"][0]["image"] = site.reference.replace(site.registry.address, "127.0.0.1:1")
    site.write_config()
    assert "--force pins it all the same" in run_verb(site, "pin", FAR_DIGEST, status=75)
    assert "cannot reach" in run_verb(site, "pin", FAR_DIGEST, "--force")


def test_retry_ends_the_wait_of_a_repaired_host(docker_site: Site) -> None:
    """A start that fails for a missing device is tried again at once after the repair and `retry`."""
    site = docker_site
    site.write_config({"devices": ["/dev/null/none"]}, failures={"initial": "1h", "longest": "1h"})
    site.push_image()
    site.run_once(75)
    assert get_slot(site)["state"] == "backoff"
    run_verb(site, "run", "--now", status=75)
    assert len(site.read_audit("start-failed")) == 2, "tried again in spite of the wait"
    site.write_config({"devices": ["/dev/null"]})
    site.run_once()
    assert get_slot(site)["state"] == "backoff"
    assert "no wait any more for wn-01" in run_verb(site, "retry", "wn-01")
    site.run_once()
    assert get_slot(site)["state"] == "running"
