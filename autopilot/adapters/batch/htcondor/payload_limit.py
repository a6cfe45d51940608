"""Count the payloads that this life has taken, and render the limit that its startd keeps by itself. Pure.

Theory of operation. The startd counts in `JobStarts`, over all its slots, how often it has started a job. It raises the
count in the step in which it starts one, and evaluates START with the present count just before, for every slot. So a
START that compares both is exact: no job can slip in, however many are matched at once.

A startd that is started again counts from 0. So START has two limits: one for the startd that runs now, known by its
pid, and one for any other. The second is less by the payloads that the running one has taken.
"""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class PayloadCount:
    """The payloads taken in this life.

    Attributes:
        startd: The pid of the startd that runs, or ran last; None before the first.
        earlier: Payloads that earlier startds have taken.
        present: Payloads that this startd has taken.
    """

    startd: int | None = None
    earlier: int = 0
    present: int = 0

    @property
    def total(self) -> int:
        """Payloads taken in this life."""
        return self.earlier + self.present

    def record(self, startd: int | None, taken: int) -> PayloadCount:
        """Return the count after an observation.

        Args:
            startd: The pid of the startd; None when none runs.
            taken: Payloads that it is known to have taken; 0 when nothing is known.
        """
        if startd is None:
            return self
        if startd != self.startd:
            return PayloadCount(startd, self.total, taken)
        return replace(self, present=max(self.present, taken))


def compute_limits(limit: int, count: PayloadCount) -> tuple[int, int]:
    """Return how many payloads the present startd may start in all, and how many one that is started after it."""
    return max(0, limit - count.earlier), max(0, limit - count.total)


def render_limit(limit: int, count: PayloadCount) -> list[str]:
    """Return the lines of configuration that let the startd refuse further payloads after `limit` in this life."""
    present, other = compute_limits(limit, count)
    number = present if count.startd is None else f"ifThenElse($(PID) == {count.startd}, {present}, {other})"
    return [
        f"# this life takes {limit} payload(s): the startd itself refuses any further one",
        f"AUTOPILOT_PAYLOADS = {number}",
        "# the second comparison, of a partitionable slot, only saves matches that the first one would refuse",
        "START = ($(START)) && JobStarts < $(AUTOPILOT_PAYLOADS) && (NumDynamicSlots ?: 0) < $(AUTOPILOT_PAYLOADS)",
        "# a claim takes one payload: the schedd does not offer it a second one, which would be refused",
        "CLAIM_WORKLIFE = 0",
    ]
