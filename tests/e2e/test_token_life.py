"""The node's token against the node's life, in a real pool: too short, renewed, too short again after a reload."""

from __future__ import annotations

import json

import pytest

from lab import pool_settings
from tests.e2e.node import CONFIG_PATH, Node

pytestmark = pytest.mark.real("root", "htcondor")

DRAIN = {"htcondor": True}
HOUR_S = 3600


def test_a_short_token_comes_and_goes(pool):
    """A token shorter than the life is said, ends with a renewed one, and a reload to a longer life says it again."""
    node = Node(
        pool,
        token=pool.create_token(lifetime_s=HOUR_S),
        lifetime={"max": "2h", "drain": DRAIN},
        spec={"htcondor": {"job": "condor-master", "poll": "1s", "node": {"condor_host": "manager"}}},
    )
    assert "this life may last 2 h" in node.wait_for_event("^the token in /etc/condor/tokens.d expires")["message"]
    node.worker.write_file(pool_settings.TOKEN_PATH, pool.create_token(lifetime_s=3 * HOUR_S), mode=0o600)
    node.wait_for_event("^condition cleared: token-expires")
    spec = json.loads(node.worker.read_file(CONFIG_PATH))
    spec["lifetime"]["max"] = "4h"
    node.worker.write_file(CONFIG_PATH, json.dumps(spec))
    node.worker.run(["autopilot", "reload"])
    node.wait_for_event("^the token .* and this life may last 4 h")
