"""Parse the keys of the fleet in Consul: pure functions, which leave out every value that is none."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

from autopilot_watchdog.bounded_json import clip_text, get_text, parse_json
from autopilot_watchdog.core.fleet_good import MAX_FLEET_GOOD
from autopilot_watchdog.core.observation import FleetPromotion, FleetState, FleetVoices

DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
LIVES = re.compile(r"[0-9]{1,9}")
MAX_URGENCY_CHARS = 64


def parse_fleet_state(values: Mapping[str, str], prefix: str, machine: str) -> FleetState:
    """Return the state that Consul's keys hold.

    Args:
        values: The texts by key.
        prefix: The prefix of the watchdog's keys, without a slash at its end.
        machine: The type of this machine: each type has digests of its own.
    """
    folder = f"{prefix}/quarantine/"
    orders: dict[str, str] = {}
    voices: dict[str, FleetVoices] = {}
    for key, text in values.items():
        digest, *rest = key.removeprefix(folder).split("/") if key.startswith(folder) else ("",)
        if not DIGEST.fullmatch(digest):
            continue
        before = voices.get(digest, FleetVoices())
        match rest:
            case []:
                orders[digest] = text
            case ["failed", host] if host:
                voices[digest] = replace(before, condemning={**before.condemning, host: text})
            case ["good", host] if host:
                voices[digest] = replace(before, well=(*before.well, host))
    good_folder = f"{prefix}/good/{machine}/"
    good = {
        key.removeprefix(good_folder): digests
        for key, text in values.items()
        if key.startswith(good_folder) and (digests := _parse_digests(text))
    }
    urgency = values.get(f"{prefix}/urgency", "")[:MAX_URGENCY_CHARS]
    lives = _parse_lives(values, f"{prefix}/lives/")
    promotions = _parse_promotions(values, f"{prefix}/promoted/{machine}/")
    return FleetState(orders, urgency, voices, good, lives, promotions)


def _parse_digests(text: str) -> tuple[str, ...]:
    """Return the digests of a key, one a line; lines that are none are left out."""
    digests = [line for line in text.split() if DIGEST.fullmatch(line)]
    return tuple(dict.fromkeys(digests))[:MAX_FLEET_GOOD]


def _parse_lives(values: Mapping[str, str], folder: str) -> dict[str, dict[str, int]]:
    """Return the good lives by host and digest; numbers that are none, or too great, are left out."""
    lives: dict[str, dict[str, int]] = {}
    for key, text in values.items():
        digest, _, host = key.removeprefix(folder).partition("/")
        if key.startswith(folder) and DIGEST.fullmatch(digest) and host and LIVES.fullmatch(text):
            lives.setdefault(digest, {})[host] = int(text)
    return lives


def _parse_promotions(values: Mapping[str, str], folder: str) -> dict[str, FleetPromotion]:
    """Return the promotions by image reference; texts that are none are left out."""
    promotions: dict[str, FleetPromotion] = {}
    for key, text in values.items():
        if not key.startswith(folder):
            continue
        try:
            document = parse_json(text)
        except ValueError:
            continue
        found = FleetPromotion(
            *(clip_text(get_text(document, name)) for name in ("digest", "over", "canary", "reason", "given"))
        )
        if DIGEST.fullmatch(found.digest) and DIGEST.fullmatch(found.over):
            promotions[key.removeprefix(folder)] = found
    return promotions
