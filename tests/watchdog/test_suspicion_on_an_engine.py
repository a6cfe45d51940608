"""A slowly bad image on a real engine: told, compared with the image before it, and quarantined."""

from __future__ import annotations

import json
import time

import pytest
from autopilot_watchdog.core.life_tallies import LifeEnd

from lab.tiny_images import LAST_WORDS
from tests.watchdog.site import Site, eventually
from tests.watchdog.test_engines import get_slot

pytestmark = pytest.mark.real("docker", "registry")

EAGER = {"action": "quarantine", "false_alarms": 0.2, "lives": 3, "former_lives": 3, "burst": "1s"}
QUICK = {"good_after": "100ms", "initial": "100ms"}
DAY_S = 86400


def format_life_script(**end: object) -> str:
    """Return a script that is good at once, runs for a second, and ends with these last words and exit code."""
    begin = {**LAST_WORDS, "container_name": "NAME"}
    folder, quoted = "/var/lib/autopilot", "'\"$AUTOPILOT_CONTAINER_NAME\"'"
    lines = [
        f"echo '{json.dumps(words)}' > {folder}/next && mv {folder}/next {folder}/last-words.json".replace(
            "NAME", quoted
        )
        for words in (begin, {**begin, "state": "ended", **end})
    ]
    return "\n".join([lines[0], "sleep 1", lines[1], f"exit {end['exit_code']}"])


def format_payload_script(finished: int, failed: int) -> str:
    """Return a script that ends in order after so many payloads."""
    return format_life_script(reason="lifetime", exit_code=0, payloads_finished=finished, payloads_failed_fast=failed)


def record_month(site: Site, digest: str) -> None:
    """Write a month of lives in order into the watchdog's memory of a digest, as if the host had run it so long."""
    state = site.read_state()
    [image] = state["images"].values()
    record, now = image["records"][digest], time.time()
    record["lives"] = [
        {"slot": "wn-01", "ended": now - number * DAY_S, "age": DAY_S, "end": LifeEnd.IN_ORDER}
        for number in range(30, 0, -1)
    ]
    (site.state_folder / "state.json").write_text(json.dumps(state))


def count_periods(site: Site, digest: str) -> int:
    """Return the number of periods with payloads that the watchdog remembers of a digest."""
    return len(site.get_image_record()["records"].get(digest, {}).get("periods", []))


def test_failing_payloads_are_noticed(docker_site: Site) -> None:
    """A new image whose payloads fail at once is suspect; the one before is tried, then the new one is quarantined."""
    site = docker_site
    site.write_config(suspicion=EAGER, failures=QUICK)
    former = site.push_image(format_payload_script(10, 0))
    site.run_once()
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


def test_failed_health_checks_are_noticed(docker_site: Site) -> None:
    """A new image whose lives prove good and soon end by failed health checks is told."""
    site = docker_site
    site.write_config(suspicion={"lives": 3, "together": "1ms"}, failures=QUICK)
    former = site.push_image(format_payload_script(0, 0))
    site.run_once()
    record_month(site, former)
    bad = site.push_image(format_life_script(reason="check-failed", exit_code=69))
    with site.run_watch():
        told = eventually(lambda: site.read_audit("suspect"), 60, "the new one is suspect")
        eventually(lambda: len(site.read_audit("suspect")) == 2, 60, "both criteria tell it")
    assert {line["digest"] for line in told} == {bad}
    sentences = {line["sentence"] for line in site.read_audit("suspect")}
    assert any("lives are short: " in one and former[:19] in one for one in sentences)
    assert any("lives end with an error: " in one and "by failed health checks" in one for one in sentences)
    assert "is suspect: lives are short: " in site.run_verb("status").stdout
    assert "is suspect: lives are short: " in site.run_verb("explain", "wn-01").stdout
    assert not site.get_image_record()["quarantine"]
