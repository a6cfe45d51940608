"""Orders to slurmctld where no event loop runs, with real processes in the place of scontrol."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest

from autopilot.adapters.batch.slurm.job_return import JobReturn
from autopilot.adapters.batch.slurm.node_address import is_address_elsewhere
from autopilot.adapters.batch.slurm.slurm_commands import SlurmCommands
from autopilot.adapters.batch.slurm.slurm_node_state import SlurmNodeState
from autopilot.runtime.command_runner import CommandRunner

GiveOrders = Callable[..., str]


@pytest.fixture
def give_orders(tmp_path: Path) -> GiveOrders:
    """Give the orders after a crash of slurmd to a scontrol with this end; return the orders that it has got."""

    def give(end: str, give_all: Callable[[JobReturn], None] = JobReturn.abandon_steps) -> str:
        tool = tmp_path / "scontrol"
        tool.write_text(f'#!/bin/sh\necho "$*" >> {tmp_path}/orders\n{end}\n')
        tool.chmod(0o755)
        state = SlurmNodeState(SlurmCommands(cast(CommandRunner, None), {}), lambda _cue: None, 15.0)
        state.fix_name("slot-1")
        give_all(JobReturn(state, {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}))
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


@pytest.mark.parametrize("is_alive", [True, False])
def test_a_node_of_this_name_at_another_address(
    give_orders: GiveOrders, is_alive: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A node that a killed life has left is removed; one elsewhere whose slurmd answers is another host's."""
    monkeypatch.setattr("autopilot.adapters.batch.slurm.job_return.COMMAND_TIMEOUT_S", 60.0)
    monkeypatch.setattr("autopilot.adapters.batch.slurm.slurm_node_state.is_address_elsewhere", lambda _address: True)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        if not is_alive:
            server.close()
        record = f"NodeName=slot-1 NodeAddr=127.0.0.1 Port={port} State=IDLE+DYNAMIC_NORM ThreadsPerCore=1"
        orders = give_orders(f"echo '{record}'", JobReturn.remove_leftover)
    assert (DOWN in orders) is not is_alive


@pytest.mark.parametrize(
    ("address", "elsewhere"),
    [("127.0.0.1", False), ("192.0.2.7", True), ("2001:db8::7", True), ("slot-1", False), ("", False)],
)
def test_addresses(address: str, elsewhere: bool) -> None:
    """An address that this host does not have is elsewhere; a name is not looked up."""
    assert is_address_elsewhere(address) is elsewhere


def test_orders_after_a_crash_take_one_time_limit_together(
    give_orders: GiveOrders, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After an order that was answered late the next one has only the rest of the time, and is given up."""
    limits: list[float] = []
    clock = iter([100.0, 100.0, 101.4])
    monkeypatch.setattr("autopilot.adapters.batch.slurm.job_return.time.monotonic", lambda: next(clock))

    def run(_return: JobReturn, _words: tuple[str, ...], timeout_s: float) -> str:
        limits.append(round(timeout_s, 3))
        return ""

    monkeypatch.setattr(JobReturn, "_run_scontrol", run)
    give_orders("")
    assert limits == [1.5, 0.1]
