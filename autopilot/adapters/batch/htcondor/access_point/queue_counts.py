"""Count the jobs of a queue from the answers of condor_q. Pure.

The schedd counts for itself, so a question costs the same for ten jobs and for a hundred thousand. Jobs that a submit
file with `max_materialize` has not made yet are in no count: they are known from its cluster only.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

STATES = ("idle", "running", "held", "suspended", "completed", "removed")
NO_MORE_JOBS = (2, 3)  # JobFactoryPaused: all jobs are made, or the cluster was removed
# A cluster's whole ad holds the submitter's environment. The answer must stay far below the output that is kept.
FACTORY_QUESTION = (
    "-constraint",
    " && ".join(f"JobFactoryPaused =!= {value}" for value in NO_MORE_JOBS),
    "-limit",
    "100",
    "-attributes",
    "TotalSubmitProcs,JobMaterializeNextProcId,JobFactoryPaused",
)


@dataclass(frozen=True, slots=True)
class QueueCounts:
    """Jobs of the queue by state, of all users and universes."""

    by_state: Mapping[str, int]
    total: int
    unmade: int = 0  # jobs that submit files with max_materialize have still to make

    @property
    def is_empty(self) -> bool:
        """True when there is no job, and no job will be made."""
        return not self.total and not self.unmade

    def describe(self) -> str:
        """Return the counts in a few words: `2 running, 1 held`."""
        counts = [f"{count} {state}" for state, count in self.by_state.items() if count]
        counts += [f"{self.unmade} not yet materialized"] if self.unmade else []
        return ", ".join(counts) or "no job"


def parse_totals(output: str) -> QueueCounts | None:
    """Return the counts of `condor_q -allusers -totals -json`; None when the output is something else."""
    ads = _parse_ads(output)
    if not ads or not isinstance(ads[0].get("AllusersJobs"), int):
        return None
    # The jobs of the scheduler's own universe (DAGMan) are counted apart.
    by_state = {
        state: sum(_get_count(ads[0], f"Allusers{part}{state.capitalize()}") for part in ("", "Scheduler"))
        for state in STATES
    }
    return QueueCounts(by_state, sum(_get_count(ads[0], f"Allusers{part}Jobs") for part in ("", "Scheduler")))


def count_unmade_jobs(output: str) -> int | None:
    """Return the jobs still to be made, from `condor_q -allusers -factory -json` with FACTORY_QUESTION.

    None when the output is no list. With more than 100 such clusters this is the number of the first 100.
    """
    ads = _parse_ads(output)
    if ads is None:
        return None
    return sum(
        max(0, _get_count(ad, "TotalSubmitProcs") - _get_count(ad, "JobMaterializeNextProcId"))
        for ad in ads
        if ad.get("JobFactoryPaused") not in NO_MORE_JOBS
    )


def _parse_ads(output: str) -> list[dict[str, Any]] | None:
    """Return the ads of a tool's JSON, skipping warnings around it; without any ad the tools print nothing at all."""
    lines = output.splitlines()
    start = next((index for index, line in enumerate(lines) if line.startswith("[")), None)
    if start is None:
        return [] if all(not line.strip() or line.upper().startswith("WARNING") for line in lines) else None
    try:
        ads, _ = json.JSONDecoder().raw_decode("\n".join(lines[start:]))
    except (ValueError, RecursionError):
        return None
    return ads if isinstance(ads, list) and all(isinstance(ad, dict) for ad in ads) else None


def _get_count(ad: Mapping[str, Any], name: str) -> int:
    value = ad.get(name, 0)
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0
