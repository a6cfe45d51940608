"""Simulate an image registry with pushes and outages in virtual time, and define the behaviour of its digests."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from autopilot_watchdog.core.observation import FleetVoices, RegistryFailure, TagDigest
from autopilot_watchdog.core.slot_actions import (
    FleetVoice,
    ShareGoodLife,
    ShareLives,
    ShareQuarantine,
    WithdrawQuarantine,
)


@dataclass(frozen=True, slots=True)
class DigestBehaviour:
    """Behaviour of the containers of a digest. Times are seconds."""

    lifetime: float = 24 * 3600.0
    jitter: float = 4 * 3600.0  # most seconds that are added to the lifetime, drawn uniformly
    good_after: float = 120.0
    fails_after: float | None = None  # age of its end by its own fault
    exit_code: int = 1  # of that end
    reason: str = "job-failed"  # of that end, in its last words
    urgency: str = ""
    writes_last_words: bool = True
    payloads_per_hour: float = 0.0  # that end, evenly over the life
    failing_payloads: float = 0.0  # share of them that end with an error within a minute


@dataclass(slots=True)
class SimulatedRegistry:
    """Registry with one tag, and further ones by reference; it counts requests and pulls by minute of virtual time."""

    pushes: list[tuple[float, str]]  # time and digest, in the order of time
    outages: list[tuple[float, float]] = field(default_factory=list)  # begin and end
    behaviours: Mapping[str, DigestBehaviour] = field(default_factory=dict)
    tag_pushes: Mapping[str, list[tuple[float, str]]] = field(default_factory=dict)  # of further tags, by reference
    voices: dict[str, FleetVoices] = field(default_factory=dict)  # the fleet's, in Consul
    lives: dict[str, dict[str, int]] = field(default_factory=dict)  # good ones by host and digest, in Consul
    voice_changes: int = 0
    request_counts: Counter[int] = field(default_factory=Counter)
    pull_counts: Counter[int] = field(default_factory=Counter)

    def find_next_change(self, since: float) -> float:
        """Return the time of the first answer that differs from the one at `since`."""
        pushes = [push for tag in (self.pushes, *self.tag_pushes.values()) for push in tag]
        times = [at for at, _ in pushes] + [at for outage in self.outages for at in outage]
        return min((at for at in times if at > since), default=math.inf)

    def record_voice(self, host: str, action: FleetVoice) -> None:
        """Record the words of a host to the fleet."""
        voices = self.voices.get(action.digest, FleetVoices())
        match action:
            case ShareQuarantine():
                voices = replace(voices, condemning={**voices.condemning, host: action.reason})
            case ShareGoodLife():
                voices = replace(voices, well=(*voices.well, host))
            case ShareLives(_, digest, lives):
                kept = {other: count for other, count in self.lives.get(digest, {}).items() if other != host}
                self.lives = {**self.lives, digest: {**kept, host: lives} if lives else kept}
            case WithdrawQuarantine():
                others = {other: reason for other, reason in voices.condemning.items() if other != host}
                voices = replace(voices, condemning=others)
        self.voices = {**self.voices, action.digest: voices}
        self.voice_changes += 1

    def is_down(self, now: float) -> bool:
        """Return True during an outage."""
        return any(begin <= now < end for begin, end in self.outages)

    def request_tag_digest(self, now: float, reference: str = "") -> TagDigest | RegistryFailure:
        """Count a request for a reference and answer it."""
        self.request_counts[int(now // 60)] += 1
        return self.get_tag_digest(now, reference)

    def get_tag_digest(self, now: float, reference: str = "") -> TagDigest | RegistryFailure:
        """Return the answer to a request at this time, without counting it."""
        if self.is_down(now):
            return RegistryFailure("connection refused")
        pushes = self.tag_pushes.get(reference, self.pushes)
        digest = next((pushed for at, pushed in reversed(pushes) if at <= now), "")
        if not digest:
            return RegistryFailure("manifest unknown")
        return TagDigest(digest, urgency=self.get_behaviour(digest).urgency)

    def get_behaviour(self, digest: str) -> DigestBehaviour:
        """Return the behaviour of a digest; the default one if none is set."""
        return self.behaviours.get(digest, DigestBehaviour())
