"""`autopilot fleet --pool` on a real pool with a real Consul."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from lab.consul_agents import Agent
from lab.netns import enter_network_of
from lab.pool_settings import compute_address
from tests.e2e.node import SETTINGS, Node

pytestmark = pytest.mark.real("root", "htcondor", "consul", "bindings")

MANAGER = compute_address(0)
ELSEWHERE = {"job": "condor-master", "node": {"condor_host": "worker40", "settings": SETTINGS}}  # nobody is there


def test_fleet_beside_the_pool(pool, tmp_path):
    """A node of both lists has its slots, one that never joined is absent, and one that is not in Consul is unknown."""
    consul = Agent(tmp_path, MANAGER, server=True, join=[MANAGER], config={})
    try:
        with enter_network_of(pool.manager.pid):
            consul.start()
            consul.await_leader()
        lost = Node(pool, spec={"consul": consul.http_address, "htcondor": ELSEWHERE})
        nodes = [Node(pool, spec={"consul": consul.http_address}), lost, Node(pool)]
        pool.wait_until(lambda: len(pool.list_slots()) == 2, 60, "two nodes join")
        pool.submit(600)
        lives = [node.read_last_words()["life"] for node in nodes]
        expected = {lives[0]: ("alive", "joined"), lives[1]: ("alive", "absent"), lives[2]: ("unknown", "joined")}
        with enter_network_of(pool.manager.pid):
            pool.wait_until(lambda: list_states(consul) == (expected, 1), 60, "each is known, and a slot is claimed")
            text = show_fleet(consul)
    finally:
        consul.kill()
    assert "1 Claimed/Busy, 1 Unclaimed/Idle" in text and "absent" in text and "unknown" in text
    assert text.endswith(
        "2 nodes in the pool with 3 slots, 1 claimed; 1 container in Consul only (absent); "
        "1 node in the pool only (unknown)\n"
    )


def show_fleet(consul, *options):
    command = [sys.executable, "-m", "autopilot", "fleet", "--pool", MANAGER, "--consul", consul.http_address, *options]
    environment = {**os.environ, "CONDOR_CONFIG": "ONLY_ENV"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def list_states(consul):
    """Return the status and the pool's state of each life, and the number of all claims."""
    rows = json.loads(show_fleet(consul, "-o", "json"))
    states = {row["life"]: (row["status"], row["pool"]["state"]) for row in rows}
    return states, sum(row["pool"]["claims"] for row in rows)
