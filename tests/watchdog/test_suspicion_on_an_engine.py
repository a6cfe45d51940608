"""A slowly bad image on a real engine: told, compared with the image before it, and quarantined."""

from __future__ import annotations

import json

import pytest

from lab.tiny_images import LAST_WORDS
from tests.watchdog.site import Site, eventually
from tests.watchdog.test_engines import get_slot

pytestmark = pytest.mark.real("docker", "registry")

EAGER = {"action": "quarantine", "false_alarms": 0.2, "lives": 3, "former_lives": 3, "burst": "1s"}


def format_payload_script(finished: int, failed: int) -> str:
    """Return a script that is good at once, runs for a second, and ends in order after so many payloads."""
    begin = {**LAST_WORDS, "container_name": "NAME"}
    end = {**begin, "state": "ended", "reason": "lifetime", "exit_code": 0}
    end |= {"payloads_finished": finished, "payloads_failed_fast": failed}
    folder, quoted = "/var/lib/autopilot", "'\"$AUTOPILOT_CONTAINER_NAME\"'"
    lines = [
        f"echo '{json.dumps(words)}' > {folder}/next && mv {folder}/next {folder}/last-words.json".replace(
            "NAME", quoted
        )
        for words in (begin, end)
    ]
    return "\n".join([lines[0], "sleep 1", lines[1]])


def count_periods(site: Site, digest: str) -> int:
    """Return the number of periods with payloads that the watchdog remembers of a digest."""
    return len(site.get_image_record()["records"].get(digest, {}).get("periods", []))


def test_failing_payloads_are_noticed(docker_site: Site) -> None:
    """A new image whose payloads fail at once is suspect; the one before is tried, then the new one is quarantined."""
    site = docker_site
    site.write_config(suspicion=EAGER, failures={"good_after": "100ms", "initial": "100ms"})
    former = site.push_image(format_payload_script(10, 0))
    with site.run_watch():
        eventually(lambda: count_periods(site, former) >= 6, 60, "the image before has lived six times")
        bad = site.push_image(format_payload_script(10, 9))
        entry = eventually(lambda: site.get_image_record()["quarantine"].get(bad), 120, "the new one is quarantined")
        eventually(lambda: get_slot(site)["digest"] == former, 60, "the slot has the image before")
    assert entry["source"] == "rates"
    assert "against 0 of " in entry["reason"] and former[:19] in entry["reason"]
    events = [line["event"] for line in site.read_audit() if line.get("digest") == bad]
    order = [events.index(event) for event in ("suspect", "suspicion-confirmed", "quarantine")]
    assert order == sorted(order)
    assert "is quarantined: its payloads end with an error within a minute: " in site.run_verb("status").stdout
