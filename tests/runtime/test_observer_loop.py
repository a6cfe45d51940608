"""Test that an observer that fails starts again, and that its failure is reported."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from autopilot.retry_delay import RetryDelay
from autopilot.runtime import observer_loop


@pytest.fixture(autouse=True)
def _fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(observer_loop, "RESTART_DELAY", RetryDelay(first_s=0.001, max_s=0.001))


async def test_an_observer_starts_again() -> None:
    """Each failure is reported with its exception, and the observer runs anew until it returns."""
    runs = iter([ValueError("a"), RecursionError("b"), None])
    failed: list[Any] = []
    recovered: list[Any] = []

    async def observe() -> None:
        if (error := next(runs)) is not None:
            raise error

    await observer_loop.run_observer("node", observe, lambda *failure: failed.append(failure), recovered.append)
    assert [(name, str(error)) for name, error in failed] == [("node", "a"), ("node", "b")]
    assert recovered == ["node"]


async def test_an_observer_recovers(monkeypatch: pytest.MonkeyPatch) -> None:
    """An observer that runs on after a failure is reported as recovered; cancelling it ends it."""
    monkeypatch.setattr(observer_loop, "RECOVERED_AFTER_S", 0.01)
    runs, failed = iter([True, False]), []
    recovered = asyncio.Event()

    async def observe() -> None:
        if next(runs):
            raise ValueError
        await asyncio.Event().wait()

    work = observer_loop.run_observer("node", observe, lambda name, _: failed.append(name), lambda _: recovered.set())
    task = asyncio.ensure_future(work)
    await asyncio.wait_for(recovered.wait(), 10)
    assert failed == ["node"] and not task.done()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
