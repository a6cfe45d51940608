"""The fleet beside the pool: containers that Consul knows, nodes that the collector knows, and both."""

from __future__ import annotations

import os
import subprocess
import sys

from hypothesis import given
from hypothesis import strategies as st

from autopilot.adapters.batch.htcondor.pool_listing import PoolSlot
from autopilot.adapters.consul.fleet_listing import BLANK_CONTAINER
from autopilot.cli.fleet_pool import build_cells, format_pool_summary, merge_pool

LIVES = st.sampled_from(["", "a", "b", "c", "d"])
TEXTS = st.sampled_from(["", "Claimed", "Unclaimed", "Busy", "\x1b[2J", "x" * 256])


def build_container(life: str, batch_system: str = "htcondor", status: str = "alive"):
    return {**BLANK_CONTAINER, "life": life, "host": f"h-{life}", "batch_system": batch_system, "status": status}


def build_slot(life: str, number: int = 1, state: str = "Claimed", activity: str = "Busy", node: str = ""):
    return PoolSlot(life, f"slot{number}@{node or life}@wn.pool", "wn.pool", state, activity)


def test_each_of_the_three_cases():
    """A node of both lists has its slots, a container of Consul alone is absent, a node of the pool alone is unknown; a
    container that runs no HTCondor is none of them.
    """
    slots = [build_slot("a"), build_slot("a", 2, "Unclaimed", "Idle"), build_slot("stray")]
    rows = merge_pool([build_container("a"), build_container("b"), build_container("c", "")], slots, BLANK_CONTAINER)
    assert [(row["life"], row["status"], row["pool"]["state"]) for row in rows] == [
        ("a", "alive", "joined"),
        ("b", "alive", "absent"),
        ("c", "alive", ""),
        ("stray", "unknown", "joined"),
    ]
    assert [build_cells(row) for row in rows] == [
        ("1 Claimed/Busy, 1 Unclaimed/Idle", "1"),
        ("absent", "-"),
        ("-", "-"),
        ("1 Claimed/Busy", "1"),
    ]
    assert rows[3].keys() == rows[0].keys() and rows[3]["host"] == "wn.pool"
    assert format_pool_summary(rows) == (
        "2 nodes in the pool with 3 slots, 2 claimed; 1 container in Consul only (absent); "
        "1 node in the pool only (unknown)"
    )


def test_two_nodes_that_tell_one_life():
    """Two nodes with one life are shown as such: one of them is not what it says."""
    (row,) = merge_pool([build_container("a")], [build_slot("a"), build_slot("a", node="evil")], BLANK_CONTAINER)
    assert build_cells(row) == ("2 nodes: 2 Claimed/Busy", "2")
    assert "1 container claimed by several nodes" in format_pool_summary([row])


@given(
    st.lists(st.builds(build_container, LIVES, st.sampled_from(["", "htcondor", "slurm"])), max_size=6),
    st.lists(st.builds(build_slot, LIVES, st.integers(1, 3), TEXTS, TEXTS), max_size=12),
)
def test_nothing_is_lost(containers, slots):
    """Every container and every slot is shown, whatever the lists hold; a container without a life matches no slot."""
    rows = merge_pool(containers, slots, BLANK_CONTAINER)
    assert [row["life"] for row in rows[: len(containers)]] == [container["life"] for container in containers]
    shown = {slot["name"] for row in rows for slot in row["pool"]["slots"]}
    assert shown == {slot.name for slot in slots}
    assert all(row["pool"]["slots"] == [] for row in rows[: len(containers)] if row["life"] == "")
    assert all(len(cell) < 500 for row in rows for cell in build_cells(row))
    assert format_pool_summary(rows)


def test_dead_collector_has_its_exit_code(tmp_path):
    """A collector that cannot be asked is exit code 69, and missing bindings are exit code 1."""
    (tmp_path / "sitecustomize.py").write_text(
        "import autopilot.cli.consul_queries as queries\n"
        "async def nothing(client, datacenter=None): return []\n"
        "import autopilot.adapters.consul.fleet_listing as listing\n"
        "listing.list_containers = nothing\n"
    )
    (tmp_path / "htcondor2.py").write_text("raise ImportError('cannot load the library')")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    words = [sys.executable, "-m", "autopilot", "fleet", "--pool", "cm.pool"]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 69, done.stderr
    assert done.stderr.startswith("Error: cannot ask the collector cm.pool: cannot load the library; check its name")
