"""Read the controller's record of a node, as `scontrol --oneliner show node NAME` prints it. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

MAX_RECORD_LENGTH = 16384
OWN_REASON = "autopilot:"  # begins the reason of each drain of ours
SLURM_REASONS = ("Not responding", "Node unexpectedly rebooted")  # of slurmctld itself
_FIELD = re.compile(r"(?:^|\s)([A-Z][A-Za-z]*)=")
_BUSY_STATES = frozenset({"ALLOCATED", "MIXED"})


@dataclass(frozen=True, slots=True)
class NodeRecord:
    """A node as the controller knows it.

    Attributes:
        name: Its name.
        states: The base state and its flags in capitals, such as IDLE, DRAIN and DYNAMIC_NORM.
        reason: Why it is drained or down, with the user and the time; "" without one.
        address: Its address, as slurmd registered it.
        port: Port of slurmd; 0 when it is not told.
        cpus: CPUs it offers; None when they are not told.
        memory: Memory it offers in MiB; None when it is not told.
        has_comment: Somebody has written a comment.
    """

    name: str
    states: frozenset[str]
    reason: str = ""
    address: str = ""
    port: int = 0
    cpus: int | None = None
    memory: int | None = None
    has_comment: bool = False

    @property
    def is_refusing_jobs(self) -> bool:
        """True when no new job can be sent to the node."""
        return bool(self.states & {"DRAIN", "DOWN"})

    @property
    def is_busy(self) -> bool:
        """True while a job holds the node, its end included."""
        return bool(self.states & (_BUSY_STATES | {"COMPLETING"}))

    @property
    def is_draining(self) -> bool:
        """True when the node keeps new jobs away until somebody opens it. DOWN ends with slurmd's next registration."""
        return "DRAIN" in self.states

    @property
    def is_dynamic(self) -> bool:
        """True for a node that registered itself, which can be deleted."""
        return any(state.startswith("DYNAMIC") for state in self.states)

    @property
    def is_closed_by_us(self) -> bool:
        """True when the node is drained or down for a reason of ours."""
        return self.is_refusing_jobs and self.reason.startswith(OWN_REASON)

    @property
    def is_leftover(self) -> bool:
        """True for a node that nobody misses before its slurmd starts: no person has drained it or set it down."""
        is_closed_by_person = self.is_refusing_jobs and not self.reason.startswith((OWN_REASON, *SLURM_REASONS))
        return self.is_dynamic and not is_closed_by_person

    def find_problem(self, *, draining: bool) -> str | None:
        """Return one sentence when no job can be sent to the node; None when all is well.

        Args:
            draining: The node is drained on purpose, so that this is no problem.
        """
        if "DOWN" in self.states and not draining:
            return f"slurmctld holds this node for down ({self.reason or 'no reason is given'})"
        if "NOT_RESPONDING" in self.states:
            return "slurmctld gets no answer from slurmd: check that it can reach this host's port of slurmd"
        if "DRAIN" in self.states and not draining:
            remedy = f"scontrol update nodename={self.name} state=resume"
            return f"this node is drained ({self.reason or 'no reason is given'}); to use it: {remedy}"
        return None


def parse_node_record(text: str) -> NodeRecord | None:
    """Return the record in the output of one `scontrol show node`; None when there is none."""
    line = next((line for line in text[:MAX_RECORD_LENGTH].splitlines() if line.startswith("NodeName=")), None)
    if line is None:
        return None
    fields = parse_fields(line)
    states = frozenset(word.rstrip("*~#!%$@^-").upper() for word in fields.get("State", "").split("+") if word)
    if fields.get("State", "").split("+")[0].endswith("*"):
        states |= {"NOT_RESPONDING"}
    return NodeRecord(
        name=fields["NodeName"],
        states=states,
        reason=fields.get("Reason", ""),
        address=fields.get("NodeAddr", ""),
        port=_parse_count(fields.get("Port")) or 0,
        cpus=_parse_count(fields.get("CPUTot")),
        memory=_parse_count(fields.get("RealMemory")),
        has_comment=bool(fields.get("Comment")),
    )


def parse_fields(line: str) -> dict[str, str]:
    """Return the `Key=value` pairs of a line; a value may hold spaces and reaches to the next key.

    The first value of a key counts: texts of people (Reason, Comment) come last, and may look like a key.
    """
    marks = list(_FIELD.finditer(line))
    ends = [mark.start() for mark in marks[1:]] + [len(line)]
    found: dict[str, str] = {}
    for mark, end in zip(marks, ends, strict=True):
        found.setdefault(mark[1], line[mark.end() : end].strip())
    return found


def _parse_count(text: str | None) -> int | None:
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 16 else None
