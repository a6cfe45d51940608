"""Orders to slurmctld where no event loop runs, with real processes in the place of scontrol."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest

from autopilot.adapters.batch.slurm.job_return import JobReturn
from autopilot.adapters.batch.slurm.slurm_commands import SlurmCommands
from autopilot.adapters.batch.slurm.slurm_node_state import SlurmNodeState
from autopilot.runtime.command_runner import CommandRunner

GiveOrders = Callable[[str], str]


@pytest.fixture
def give_orders(tmp_path: Path) -> GiveOrders:
    """Give the orders after a crash of slurmd to a scontrol with this end; return the orders that it has got."""

    def give(end: str) -> str:
        tool = tmp_path / "scontrol"
        tool.write_text(f'#!/bin/sh\necho "$*" >> {tmp_path}/orders\n{end}\n')
        tool.chmod(0o755)
        state = SlurmNodeState(SlurmCommands(cast(CommandRunner, None), {}), lambda _cue: None, 15.0)
        state.fix_name("slot-1")
        JobReturn(state, {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}).abandon_steps()
        return (tmp_path / "orders").read_text() if (tmp_path / "orders").exists() else ""

    return give


DOWN = "update nodename=slot-1 state=down reason=autopilot: stopped\n"


@pytest.mark.parametrize("status", [0, 1])
def test_orders_without_an_event_loop(give_orders: GiveOrders, status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each order is given by the environment's own scontrol, also after one that was refused."""
    monkeypatch.setattr("autopilot.adapters.batch.slurm.job_return.COMMAND_TIMEOUT_S", 60.0)
    assert give_orders(f"exit {status}") == f"{DOWN}delete nodename=slot-1\n"


def test_an_order_without_an_answer(give_orders: GiveOrders, monkeypatch: pytest.MonkeyPatch) -> None:
    """A scontrol that hangs is killed, and is the last one."""
    monkeypatch.setattr("autopilot.adapters.batch.slurm.job_return.COMMAND_TIMEOUT_S", 1.0)
    assert "delete" not in give_orders("exec sleep 600")
