"""The outputs of Slurm's tools that are answers of slurmctld, and those that are none."""

from __future__ import annotations

import pytest

from autopilot.adapters.batch.slurm.slurm_commands import says_unknown_node


@pytest.mark.parametrize(
    ("output", "unknown"),
    [
        ("Node slot-1 not found\n", True),
        ("slurm_load_node error: Invalid node name specified\n", True),
        ("Node slot-10 not found\n", False),
        ("plugin auth/munge not found\n", False),
        ("error: cannot find auth plugin: not found\nUnable to contact slurm controller (connect failure)\n", False),
        ("Node slot-1 not found\nUnable to contact slurm controller (connect failure)\n", False),
        ("", False),
    ],
)
def test_an_unknown_node(output: str, unknown: bool) -> None:
    """Only slurmctld's own word about this node is one: a tool that found no answer says other things."""
    assert says_unknown_node(output, "slot-1") is unknown
