"""Lives that take so many payloads and no more, on a real pool: what its schedd and startds say."""

from __future__ import annotations

import itertools
import signal
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
SHADOW_CONFIG, BROKEN_SHADOW = "/etc/condor/config.d/99-shadow.conf", "/usr/local/bin/broken_shadow"
# It tells the schedd its abilities, and never starts a job.
BROKEN_SHADOW_SCRIPT = """\
#!/bin/sh
[ "$1" = -classad ] && exec /usr/sbin/condor_shadow -classad
exit 4
"""


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


def count_starts(pool: Pool, jobs: list[str]) -> int:
    return sum(pool.get_job_ad(job).get("NumJobStarts", 0) for job in jobs)


def test_no_payload_begins_beyond_the_limit(pool: Pool) -> None:
    """Of many idle jobs and four free cores a life takes three starts in all: a job whose shadow fails does not count.

    One that is evicted counts, and so does one whose startd is killed, whose successor takes only the rest.
    """
    pool.manager.write_file(BROKEN_SHADOW, BROKEN_SHADOW_SCRIPT, mode=0o755)
    pool.manager.write_file(SHADOW_CONFIG, f"SHADOW = {BROKEN_SHADOW}\n")
    pool.manager.run(["condor_reconfig"])
    jobs = [pool.submit(300)]
    node = Node(pool, **limit_payloads(3, START='TARGET.Owner =!= "bob"')).wait_until_joined()
    pool.submit(0, user="bob")  # the node's own condition still holds
    pool.wait_until(lambda: pool.get_job_ad(jobs[0]).get("NumShadowStarts", 0) > 0, 60, "the job was matched")
    pool.manager.write_file(SHADOW_CONFIG, "")
    pool.manager.run(["condor_reconfig"])
    pool.wait_until(lambda: pool.is_executing(jobs[0]), 60, "the job runs")
    node.wait_for_event("payloads taken: 1 of 3")
    pool.run_on_manager("condor_hold", jobs[0])
    pool.wait_until(lambda: not node.worker.find_processes("condor_starter"), 60, "the job is evicted")
    jobs.append(node.start_job(300))
    node.wait_for_event("payloads taken: 2 of 3")
    node.worker.signal_processes("condor_startd", signal.SIGKILL)
    pool.wait_until(lambda: pool.get_job_status(jobs[1]) == "Idle", 60, "the killed startd's job is given back")
    pool.run_on_manager("condor_hold", jobs[1])
    jobs += [pool.submit(5) for _ in range(12)]
    node.wait_for_event("payloads taken: 3 of 3")
    status = node.worker.run("autopilot status; autopilot why condor-master", check=False)
    assert node.wait_for_exit(120) == 75  # of the startd that was killed
    assert node.read_last_words()["detail"] == "3 of 3 payloads taken, drained, payloads lost: 1"
    assert status.count("3 of 3 payloads taken") == 2, status
    assert count_starts(pool, jobs) == 3
