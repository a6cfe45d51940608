"""Define the watchdog's memory between passes, the content of STATE/state.json. Times are epoch seconds, 0 is never."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

FORMAT_VERSION = 2  # raised when keys change, so that no pass begins with half a memory


def split_image_key(key: str) -> tuple[str, str]:
    """Return engine and reference of an image's key."""
    engine, _, reference = key.rpartition(" ")
    return engine, reference


@dataclass(frozen=True, slots=True)
class KnownGood:
    """Digest that has proved itself on this host."""

    digest: str
    life_started: float  # start of its latest life that proved good; the list is ordered by it, newest first


@dataclass(frozen=True, slots=True)
class Quarantine:
    """Reason and state of a quarantine: the digest is not started any more."""

    since: float
    reason: str
    # "host": failed here; "shared": failed here, told to the fleet; "hosts": several hosts of the fleet condemn it;
    # "rates": its lives or payloads do worse than before, see core/suspicions.py
    # "operator", "fleet": ordered for this host, for all of them
    source: str = "host"
    confirmed: bool = False  # a good digest lived well here after it: the image was to blame, not the host
    slot: str = ""  # the slot in which the digest failed and a good one lived; "" if not judged by lives


@dataclass(frozen=True, slots=True)
class Finding:
    """Evidence against a digest: it failed in a slot, and another digest then lived well there."""

    found_at: float
    failed: int  # lives
    age: int  # seconds: the longest of those lives
    rival: str  # the digest that lived well


@dataclass(frozen=True, slots=True)
class PastLife:
    """Life that had proved its digest good and has ended."""

    slot: str
    ended: float
    age: int  # seconds
    end: str  # see digest_rates.LifeEnd


@dataclass(frozen=True, slots=True)
class PayloadPeriod:
    """Payloads of a digest that ended within one period of `suspicion.burst`."""

    begin: float
    slots: int = 0  # with enough payloads to tell, counted once for each life
    bad: int = 0  # those of them in which most payloads failed at once
    finished: int = 0  # payloads with a known end
    failed: int = 0  # those that ended with an error soon after their start


@dataclass(frozen=True, slots=True)
class PayloadCount:
    """Payloads of the present life of a slot."""

    begin: float = 0.0  # of the present period; 0: none has ended yet
    finished: int = 0  # in this period
    failed: int = 0
    finished_before: int = 0  # in the periods before
    failed_before: int = 0


@dataclass(frozen=True, slots=True)
class Suspicion:
    """Finding that a digest does worse than the good one before it, see digest_rates."""

    since: float
    sentence: str
    rival: str  # the digest before it
    verdict: str = "open"  # see digest_rates.SuspicionVerdict


@dataclass(frozen=True, slots=True)
class StepFailures:
    """Failures in a row of one preparing step of a digest."""

    tries: int = 0
    not_before: float = 0.0  # earliest time of the next try
    trouble: str = ""  # sentence about the last failure


@dataclass(frozen=True, slots=True)
class DigestRecord:
    """Record of one digest on this host."""

    first_seen: float
    pulled: bool = False  # by us, so it is ours to remove; noted before the pull, in case of a crash
    verified: bool = False  # for every group, by an older watchdog; see `passed`
    preflighted: bool = False
    passed: tuple[str, ...] = ()  # checks, see preparation_waits
    failures: int = 0  # failed lives in a row; a good one starts the count again
    tries: int = 0  # failed pulls in a row
    not_before: float = 0.0  # earliest time of the next pull
    trouble: str = ""  # sentence about the last failure, of a pull or of a life
    checks_failed: Mapping[str, StepFailures] = field(default_factory=dict)  # signature checks, pre-flights, by name
    urgency: str = ""  # the image's label: "now" or a date; "" none
    lived: int = 0  # seconds: the longest life that proved good here
    findings: Mapping[str, Finding] = field(default_factory=dict)  # by slot, since a life of it was last good
    acquitted: bool = False  # the fleet's evidence lifted a quarantine of this host once
    good_lives: int = 0  # lives on this host that proved good and did not fail soon afterwards
    lives: tuple[PastLife, ...] = ()  # the latest ones, in the order of their ends
    periods: tuple[PayloadPeriod, ...] = ()  # the latest ones with payloads, in their order
    suspicions: Mapping[str, Suspicion] = field(default_factory=dict)  # by criterion


@dataclass(frozen=True, slots=True)
class ImageMemory:
    """Memory of one image reference on one engine."""

    newest: str = ""  # the registry's digest for this platform when it last answered
    answered_at: float = 0.0
    asked_at: float = 0.0
    trouble: str = ""  # sentence about the registry's failure to answer; "" after an answer
    platforms: Mapping[str, str] = field(default_factory=dict)  # an index's digest -> this platform's
    records: Mapping[str, DigestRecord] = field(default_factory=dict)
    known_good: tuple[KnownGood, ...] = ()
    quarantine: Mapping[str, Quarantine] = field(default_factory=dict)
    pin: str = ""
    fleet_good: tuple[str, ...] = ()  # digests that are good elsewhere in the fleet, the latest first

    @property
    def last_good(self) -> str:
        """Digest that proved good last; "" for none."""
        return self.known_good[0].digest if self.known_good else ""

    def get_digest_record(self, digest: str, now: float) -> DigestRecord:
        """Return the record of a digest; a new one, first seen `now`, if there is none."""
        return self.records.get(digest) or DigestRecord(first_seen=now)

    def replace_digest_record(self, digest: str, record: DigestRecord) -> ImageMemory:
        """Return the memory with another record of a digest."""
        return replace(self, records={**self.records, digest: record})


@dataclass(frozen=True, slots=True)
class SlotFailures:
    """Failed lives of one digest in one slot."""

    count: int = 0  # in a row, since a life was last good in the slot
    short: int = 0  # lives in a row that ended early and neutrally
    failed_at: float = 0.0  # the last time, kept when the count begins anew
    age: int = 0  # seconds: the longest of the counted lives
    sentence: str = ""  # about the last one


@dataclass(frozen=True, slots=True)
class SlotMemory:
    """Memory of one slot."""

    container: str = ""  # engine's id of the present or last life
    digest: str = ""
    started: float = 0.0
    ended: float = 0.0  # 0: has not ended
    proved: bool = False  # this life was counted as good
    streak: int = 0  # lives in a row that failed or were short
    not_before: float = 0.0
    code: str = ""  # the slot's reason at the last pass
    sentence: str = ""
    since: float = 0.0  # time of the code's last change
    failed: Mapping[str, SlotFailures] = field(default_factory=dict)  # by digest
    failing_since: float = 0.0  # first failed life since a life was last good in the slot; 0: none failed
    payloads: PayloadCount = PayloadCount()


@dataclass(frozen=True, slots=True)
class Promotion:
    """Canary's digest that has become the group's, see canary_state; without a digest there is none."""

    digest: str = ""
    over: str = ""  # the tag's digest at that time; "" when the tag has moved, which ends the promotion
    since: float = 0.0
    reason: str = ""  # the operator, or the evidence
    # "operator": ordered for this host; "fleet": for all of them; "evidence", "time": the group's rule
    source: str = "operator"
    canary: str = ""  # key of the canary's image at that time: the group may have another one since, or none


@dataclass(frozen=True, slots=True)
class GroupMemory:
    """Memory of one group of slots, see group_history."""

    image: str = ""  # the image's key
    former: tuple[str, ...] = ()  # keys of the images before it, the latest first
    canary: str = ""  # key of the canary's image; "" for none
    settled: str = ""  # the canary's digest that the group's own tag has had since
    promotion: Promotion = Promotion()
    fleet_order: str = ""  # the fleet's promotion that was followed last, see format_order
    opened: Mapping[str, float] = field(default_factory=dict)  # when this host saw its ring open, by digest

    @property
    def canaries(self) -> tuple[str, ...]:
        """Keys of the canary's image and, if another one's digest was promoted, of that one."""
        return tuple(dict.fromkeys(key for key in (self.canary, self.promotion.canary) if key))


@dataclass(frozen=True, slots=True)
class FleetLives:
    """Evidence of the fleet for a digest and against it."""

    good: int = 0  # lives that proved good
    hosts: int = 0  # with such a life
    condemning: int = 0  # hosts that condemn it


@dataclass(frozen=True, slots=True)
class Occupant:
    """Living container as it was seen last, and its resources of the host, see slot_claims."""

    slot: str
    name: str = ""
    own: tuple[str, ...] = ()
    milli_cpus: int = 0  # thousandths of a CPU; 0: not limited


@dataclass(frozen=True, slots=True)
class EngineMemory:
    """Memory of one engine, see engine_memory."""

    address: str = ""  # of its socket, as in the configuration
    alive: Mapping[str, Occupant] = field(default_factory=dict)  # at its last answer, by the containers' ids
    boot: str = ""  # the kernel's run at that time


@dataclass(frozen=True, slots=True)
class DrainRetry:
    """Failures to ask one container to drain."""

    tries: int = 0  # in a row
    not_before: float = 0.0  # earliest time of the next one


@dataclass(frozen=True, slots=True)
class Cordon:
    """Operator's order to keep a slot or the host empty."""

    since: float
    by: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class StuckContainer:
    """Dead container that could not be removed."""

    slot: str
    since: float
    sentence: str


@dataclass(frozen=True, slots=True)
class Memory:
    """Memory of the whole host."""

    format: int = FORMAT_VERSION
    last_pass: float = 0.0
    last_success: float = 0.0  # the last pass in which every engine answered and nothing failed
    paused: bool = False
    streak: int = 0  # failed lives in a row on this host, of any slot
    not_before: float = 0.0
    images: Mapping[str, ImageMemory] = field(default_factory=dict)
    slots: Mapping[str, SlotMemory] = field(default_factory=dict)
    boot: str = ""  # the kernel's id of its present run
    booted: float = 0.0  # start of that run, by the clock of the last pass
    judged: tuple[str, ...] = ()  # dead containers with a counted end, while they still exist
    drained: tuple[str, ...] = ()  # containers told to drain, while they still exist
    ordered_ends: tuple[str, ...] = ()  # containers that an operator asked to end, while they still exist
    groups: Mapping[str, GroupMemory] = field(default_factory=dict)  # by the group's name
    engines: Mapping[str, EngineMemory] = field(default_factory=dict)  # present and former ones
    room: int = 0  # containers that may run at a time; 0: not known
    drain_retries: Mapping[str, DrainRetry] = field(default_factory=dict)  # by container
    config_refused: float = 0.0  # since then the configuration's file cannot be used; 0: it can
    config_file: str = (
        ""  # path of the configuration file that this state belongs to, see state_ownership; "" not known
    )
    state_folder: str = ""  # for which it is known that no container runs under another one, see state_ownership
    textfile: str = ""  # path of the metrics' file that the last pass wrote; "" for none
    urgency: str = ""  # the fleet's, from Consul: "now" or a date
    fleet_lives: Mapping[str, FleetLives] = field(default_factory=dict)  # by digest, while it needs evidence
    cordons: Mapping[str, Cordon] = field(default_factory=dict)  # by slot; "*" is the whole host
    stuck: Mapping[str, StuckContainer] = field(default_factory=dict)  # by container
    lost: Mapping[str, float] = field(default_factory=dict)  # slot-seconds without a container, by code
    counts: Mapping[str, int] = field(default_factory=dict)  # pulls, starts, ...

    def get_image(self, key: str) -> ImageMemory:
        """Return the memory of an image; an empty one if there is none."""
        return self.images.get(key) or ImageMemory()

    def get_slot(self, name: str) -> SlotMemory:
        """Return the memory of a slot; an empty one if there is none."""
        return self.slots.get(name) or SlotMemory()

    def replace_image(self, key: str, image: ImageMemory, counter: str = "") -> Memory:
        """Return the memory with another memory of an image and, if a counter is named, with that one increased."""
        images = {**self.images, key: image}
        if not counter:
            return replace(self, images=images)
        return replace(self, images=images, counts={**self.counts, counter: self.counts.get(counter, 0) + 1})

    def replace_slot(self, name: str, slot: SlotMemory) -> Memory:
        """Return the memory with another memory of a slot."""
        return replace(self, slots={**self.slots, name: slot})

    def increase_count(self, counter: str) -> Memory:
        """Return the memory with a counter increased by one."""
        return replace(self, counts={**self.counts, counter: self.counts.get(counter, 0) + 1})
