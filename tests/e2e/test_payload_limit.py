"""Lives that take so many payloads and no more, on a real pool: what its schedd and startds say."""

from __future__ import annotations

import itertools
import statistics
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any

import pytest

from lab.pool import Pool
from tests.e2e.node import SETTINGS, Node

pytestmark = pytest.mark.real("root", "htcondor")

JOBS, HOSTS = 20, 4
DRAIN = {"htcondor": True}


def limit_payloads(count: int, **settings: str) -> dict[str, Any]:
    """Return the keys of a node with four cores that takes `count` payloads."""
    node = {"condor_host": "manager", "cpus": 4, "memory": "2g", "settings": {**SETTINGS, **settings}}
    return {
        "lifetime": {"payloads": count, "drain": DRAIN},
        "spec": {"htcondor": {"job": "condor-master", "poll": "1s", "node": node}},
    }


def read_time(line: dict[str, Any]) -> float:
    return datetime.fromisoformat(line["time"]).timestamp()


def test_twenty_jobs_in_twenty_lives(pool: Pool) -> None:
    """Each of 20 jobs runs once, in a fresh container of its own, on four hosts whose next life begins at once."""
    jobs = [pool.submit(1) for _ in range(JOBS)]
    lives = itertools.count()
    starting = threading.Lock()  # the lab starts one worker at a time
    gaps: list[float] = []

    def fill_slot() -> list[Node]:
        nodes: list[Node] = []
        while next(lives) < JOBS:
            with starting:
                nodes.append(Node(pool, **limit_payloads(1)))
            assert nodes[-1].wait_for_exit(180) == 0
        return nodes

    with ThreadPoolExecutor(HOSTS) as executor:
        slots = [slot.result() for slot in [executor.submit(fill_slot) for _ in range(HOSTS)]]
    for slot in slots:
        for before, after in itertools.pairwise(slot):
            end, begin = before.find_events("payloads finished")[0], after.find_events("payloads taken")[0]
            gaps.append(read_time(begin) - read_time(end))
    print(f"gap between two lives: {statistics.median(gaps):.1f} s (median), {max(gaps):.1f} s (longest)")
    nodes = [node for slot in slots for node in slot]
    words = [node.read_last_words() for node in nodes]
    assert [(life["reason"], life["payloads_run"], life["payloads_finished"]) for life in words] == [
        ("payloads", 1, 1)
    ] * JOBS
    ads = [pool.get_job_ad(job) for job in jobs]
    assert [(ad["JobStatus"], ad["NumJobStarts"], ad["ExitCode"]) for ad in ads] == [(4, 1, 0)] * JOBS
    assert len({ad["LastRemoteHost"].partition("@")[2] for ad in ads}) == JOBS
