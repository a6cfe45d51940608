"""What the watchdog remembers from pass to pass, written to STATE/state.json. Times are seconds since the epoch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

FORMAT_VERSION = 1


@dataclass(frozen=True, slots=True)
class KnownGood:
    """A digest that has proved itself on this host."""

    digest: str
    life_started: float  # of its latest life that proved good: the order of the goods, newest first


@dataclass(frozen=True, slots=True)
class Quarantine:
    """A digest that is not started any more."""

    since: float
    reason: str
    source: str = "host"  # "host": seen here; "fleet": another host said so; "operator"
    confirmed: bool = False  # a good digest lived well here after it: the image was to blame, not the host


@dataclass(frozen=True, slots=True)
class DigestRecord:
    """What is known of one digest on this host."""

    first_seen: float
    pulled: bool = False  # by us, so it is ours to remove; noted before the pull, lest a crash leave it behind
    verified: bool = False
    preflighted: bool = False
    failures: int = 0  # failed lives in a row; a good one starts the count again
    tries: int = 0  # failed pulls, signature checks and pre-flights in a row
    not_before: float = 0.0  # of the next try
    trouble: str = ""  # what failed last, a sentence
    urgency: str = ""  # the image's label: "now" or a date; "" none


@dataclass(frozen=True, slots=True)
class ImageMemory:
    """One image reference on one engine."""

    head: str = ""  # the registry's digest for this platform when it last answered
    head_at: float = 0.0
    asked_at: float = 0.0
    trouble: str = ""  # why the registry's last answer was none, a sentence; "" when it was one
    platforms: Mapping[str, str] = field(default_factory=dict)  # an index's digest -> this platform's
    trials: Mapping[str, DigestRecord] = field(default_factory=dict)
    goods: tuple[KnownGood, ...] = ()
    quarantine: Mapping[str, Quarantine] = field(default_factory=dict)
    pin: str = ""

    @property
    def last_good(self) -> str:
        return self.goods[0].digest if self.goods else ""

    def get_digest_record(self, digest: str, now: float) -> DigestRecord:
        return self.trials.get(digest) or DigestRecord(first_seen=now)

    def replace_digest_record(self, digest: str, record: DigestRecord) -> ImageMemory:
        return replace(self, trials={**self.trials, digest: record})


@dataclass(frozen=True, slots=True)
class SlotMemory:
    container: str = ""  # engine's id of the present or last life
    digest: str = ""
    started: float = 0.0
    ended: float = 0.0  # 0: has not ended
    proved: bool = False  # this life was counted as good
    streak: int = 0  # lives in a row that failed or were short
    not_before: float = 0.0
    code: str = ""  # of the last pass: why the slot is as it is
    sentence: str = ""
    since: float = 0.0  # when the code last changed


@dataclass(frozen=True, slots=True)
class Memory:
    format: int = FORMAT_VERSION
    last_pass: float = 0.0
    last_success: float = 0.0  # the last pass in which every engine answered and nothing failed
    paused: bool = False
    streak: int = 0  # failed lives in a row on this host, whatever the slot
    not_before: float = 0.0
    images: Mapping[str, ImageMemory] = field(default_factory=dict)
    slots: Mapping[str, SlotMemory] = field(default_factory=dict)
    boot: str = ""  # the kernel's name of its present life
    booted: float = 0.0  # when that began, by the clock of the last pass
    judged: tuple[str, ...] = ()  # dead containers whose end was counted, while they still exist
    drained: tuple[str, ...] = ()  # containers told to drain, while they still exist
    urgency: str = ""  # the fleet's, from Consul: "now" or a date
    lost: Mapping[str, float] = field(default_factory=dict)  # slot-seconds without a container, by code
    counts: Mapping[str, int] = field(default_factory=dict)  # pulls, starts, ...

    def get_image(self, key: str) -> ImageMemory:
        return self.images.get(key) or ImageMemory()

    def get_slot(self, name: str) -> SlotMemory:
        return self.slots.get(name) or SlotMemory()

    def replace_image(self, key: str, image: ImageMemory, counter: str = "") -> Memory:
        counts = {**self.counts, counter: self.counts.get(counter, 0) + 1} if counter else self.counts
        return replace(self, images={**self.images, key: image}, counts=counts)

    def replace_slot(self, name: str, slot: SlotMemory) -> Memory:
        return replace(self, slots={**self.slots, name: slot})

    def increase_count(self, counter: str) -> Memory:
        return replace(self, counts={**self.counts, counter: self.counts.get(counter, 0) + 1})
