"""Decide on the cause of failed lives, the slot, the host or the image, by comparisons; the tables are the whole rule.

Theory of operation. A failed life alone says nothing about its image: the slot, the host, the network or the image may
be broken. So every conclusion needs a comparison. The image is to blame only if its lives fail in a slot in which
another digest then lives well. The slot is to blame if several digests fail in it. The host is to blame if that happens
in several of its slots at the same time. A site concludes that an image is bad only when several hosts say so.
"""

from __future__ import annotations

from enum import StrEnum
from itertools import product


class Witness(StrEnum):
    """Worth of a slot's evidence against a digest."""

    RELIABLE = "reliable"  # only this digest failed in the slot lately
    LATE = "late"  # the same, but the last failed life had begun long before the good one did
    UNRELIABLE = (
        "unreliable"  # another digest, good on this host, failed too, in the slot or for a time elsewhere, or the
    )
    # good life began long after the failed ones


class Lives(StrEnum):
    """Number of lives of the digest that failed in the slot, in a row."""

    FEW = "few"
    ENOUGH = "enough"  # `failures.quarantine_after`


class Standing(StrEnum):
    """Best that the digest has shown on this host."""

    NEW = "new"  # no life of it was longer than the ages at which it fails
    PROVED = "proved"  # it lived well here, and does not now
    LIVES = "lives"  # it lives well in another slot now


class Earlier(StrEnum):
    """Findings against the digest on this host, since it last lived well, from before it began to fail in this slot."""

    NONE = "none"
    SAME_SLOT = "same slot"
    OTHER_SLOT = "other slot"


class Blame(StrEnum):
    """Conclusion from a life that is good in a slot in which another digest failed before."""

    SLOT = "slot"  # the slot fails by itself now and then: nothing is said about the digest
    OPEN = "open"  # too few lives to tell
    NOTED = "noted"  # evidence against the digest that is not enough alone
    IMAGE = "image"  # the digest is to blame: it is quarantined


BlameCase = tuple[Witness, Lives, Standing, Earlier]


def _fill_blame_table() -> dict[BlameCase, Blame]:
    """Return a conclusion for every case; the rules are tried in their order."""
    rules: list[tuple[Witness | None, Lives | None, Standing | None, Earlier | None, Blame]] = [
        (Witness.UNRELIABLE, None, None, None, Blame.SLOT),
        (None, Lives.FEW, None, None, Blame.OPEN),
        (Witness.LATE, None, Standing.NEW, Earlier.NONE, Blame.NOTED),
        (None, None, Standing.NEW, None, Blame.IMAGE),
        (None, None, Standing.PROVED, Earlier.NONE, Blame.NOTED),
        (None, None, Standing.PROVED, None, Blame.IMAGE),
        (None, None, Standing.LIVES, Earlier.OTHER_SLOT, Blame.IMAGE),
        (None, None, Standing.LIVES, None, Blame.NOTED),
    ]
    return {
        case: next(
            blame
            for *wanted, blame in rules
            if all(want is None or want == have for want, have in zip(wanted, case, strict=True))
        )
        for case in product(Witness, Lives, Standing, Earlier)
    }


BLAME_TABLE = _fill_blame_table()


class HostSigns(StrEnum):
    """Signs of a host that fails as a whole, since a life last began well on it."""

    NO_SLOT = "no slot"  # in no slot every digest fails
    ONE_SLOT = "one slot"  # in one of its slots every digest fails
    SLOTS = "slots"  # in several slots every digest fails, or in the only one


class HostStreak(StrEnum):
    """Number of failed lives in a row on the host."""

    SHORT = "short"
    LONG = "long"  # `failures.host_after`


HOST_WAITS: dict[tuple[HostSigns, HostStreak], bool] = {
    (HostSigns.NO_SLOT, HostStreak.SHORT): False,
    (HostSigns.NO_SLOT, HostStreak.LONG): False,  # one digest fails, and another one has not been tried yet
    (HostSigns.ONE_SLOT, HostStreak.SHORT): False,
    (HostSigns.ONE_SLOT, HostStreak.LONG): False,  # a broken slot waits alone
    (HostSigns.SLOTS, HostStreak.SHORT): False,
    (HostSigns.SLOTS, HostStreak.LONG): True,
}


class Quorum(StrEnum):
    """Number of hosts that say the same about a digest."""

    MISSED = "missed"
    REACHED = "reached"  # `failures.quorum`


class FleetVerdict(StrEnum):
    """Verdict of the fleet on a digest."""

    NONE = "none"  # every host decides by itself
    CONDEMNED = "condemned"  # no host starts it, except one where it lives well or that has nothing else
    ACQUITTED = "acquitted"  # the hosts that condemned it try it once more


FLEET_TABLE: dict[
    tuple[Quorum, Quorum], FleetVerdict
] = {  # by the hosts that condemn it, and those where it lives well
    (Quorum.MISSED, Quorum.MISSED): FleetVerdict.NONE,
    (Quorum.REACHED, Quorum.MISSED): FleetVerdict.CONDEMNED,
    (Quorum.MISSED, Quorum.REACHED): FleetVerdict.ACQUITTED,
    (Quorum.REACHED, Quorum.REACHED): FleetVerdict.NONE,  # it fails on some kinds of hosts only
}
