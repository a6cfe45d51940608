"""Test that no failure of a background task is lost, and that no task outlives the life unnoticed."""

from __future__ import annotations

import asyncio

import pytest

from autopilot.app.task_set import TaskSet


async def fail() -> None:
    raise ValueError("broken")


async def wait_forever() -> None:
    await asyncio.Event().wait()


async def ignore_cancellation(stop: asyncio.Event) -> None:
    while not stop.is_set():
        try:
            await stop.wait()
        except asyncio.CancelledError:
            continue


async def test_failures_go_to_one_place() -> None:
    """The exception of a task is reported, and the other tasks run on."""
    failures: list[BaseException] = []
    tasks = TaskSet(asyncio.get_running_loop(), failures.append)
    other = tasks.start(wait_forever())
    await asyncio.wait([tasks.start(fail())])
    await asyncio.sleep(0)  # callbacks of a done task run in the loop's next turn
    assert [str(error) for error in failures] == ["broken"] and not other.done()
    assert await tasks.cancel_and_wait(1.0) == [] and other.cancelled() and len(failures) == 1


async def test_the_wait_for_the_end_is_bounded() -> None:
    """A task that does not end when it is cancelled is named after the limit."""
    tasks, stop = TaskSet(asyncio.get_running_loop(), lambda _: None), asyncio.Event()
    stubborn = tasks.start(ignore_cancellation(stop))
    await asyncio.sleep(0)  # it must have begun to ignore anything
    assert await tasks.cancel_and_wait(0.01) == ["ignore_cancellation"]
    stop.set()
    await stubborn


async def test_work_until_an_end() -> None:
    """Awaited work raises here and is not reported as well; it is cancelled when the end comes first."""
    loop = asyncio.get_running_loop()
    failures: list[BaseException] = []
    tasks, ended = TaskSet(loop, failures.append), loop.create_future()
    with pytest.raises(ValueError, match="broken"):
        await tasks.run_until(ended, fail())
    ended.set_result(None)
    await tasks.run_until(ended, wait_forever())
    assert await tasks.cancel_and_wait(1.0) == [] and not failures
