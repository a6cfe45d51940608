"""Reasons for a pass before its time: orders of other processes, work that has ended."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from autopilot_watchdog.shell.wake_pipe import forward_wakes, open_wake_pipe, wake_watch
from autopilot_watchdog.shell.wake_queue import WakeQueue, WakeReason
from autopilot_watchdog.shell.work_pool import WorkPool

from tests.watchdog.scenes import IMAGE

LIMIT_S = 30.0


def test_orders_wake(tmp_path: Path) -> None:
    """Every wake-up reaches a listener; without one it is lost, and nothing waits."""
    assert not wake_watch(tmp_path)
    pipe = open_wake_pipe(tmp_path)
    woken = threading.Semaphore(0)
    listener = threading.Thread(target=forward_wakes, args=(pipe, woken.release), daemon=True)
    listener.start()
    for _ in range(3):
        assert wake_watch(tmp_path)
        assert woken.acquire(timeout=LIMIT_S)
    os.rename(tmp_path / "wake", tmp_path / "gone")
    assert not wake_watch(tmp_path)


@pytest.mark.slow
def test_pipe_that_is_none(tmp_path: Path) -> None:
    """A file or link in the pipe's place is not written to; a listener replaces it; a full pipe holds nobody up."""
    victim = tmp_path / "victim"
    victim.write_text("x")
    (tmp_path / "wake").symlink_to(victim)
    assert not wake_watch(tmp_path)
    (tmp_path / "wake").unlink()
    (tmp_path / "wake").write_text("")
    assert not wake_watch(tmp_path)
    pipe = open_wake_pipe(tmp_path)
    again = open_wake_pipe(tmp_path)
    assert victim.read_text() == "x"
    for _ in range(100_000):
        assert wake_watch(tmp_path)
    os.close(pipe)
    os.close(again)
    assert not wake_watch(tmp_path)


@pytest.mark.parametrize("verb", ["pause", "resume"])
def test_verbs_wake(tmp_path: Path, verb: str) -> None:
    """An operator's verb wakes `watch` when its order is in the memory."""
    config = tmp_path / "config.json"
    config.write_text(f'{{"state": "{tmp_path}", "slots": [{{"name": "wn-NN", "image": "{IMAGE}"}}]}}')
    pipe = open_wake_pipe(tmp_path)
    subprocess.run([sys.executable, "-m", "autopilot_watchdog", verb, "--config", str(config)], check=True)
    assert os.read(pipe, 10) == b"w"
    assert (tmp_path / "state.json").exists()
    os.close(pipe)


def test_queue_joins_reasons() -> None:
    """Reasons that came together lead to one pass; without any the wait ends after its time."""
    wakes = WakeQueue()
    assert wakes.wait(0) == set() == wakes.wait(-1)
    for reason in (WakeReason.WORK, WakeReason.ORDER, WakeReason.WORK):
        wakes.put(reason)
    assert wakes.wait(LIMIT_S) == {WakeReason.WORK, WakeReason.ORDER}
    assert wakes.wait(0.01) == set()


def test_queue_drops_what_is_no_news() -> None:
    """Reasons that tell nothing new end no wait; those that come with news are left out."""
    wakes = WakeQueue()
    times: list[float] = []

    def is_news(reason: WakeReason, at: float) -> bool:
        times.append(at)
        return reason is WakeReason.ENGINE

    begin = time.monotonic()
    for reason in (WakeReason.WORK, WakeReason.ORDER):
        wakes.put(reason)
    assert wakes.wait(0.01, is_news) == set()
    assert [begin <= at <= time.monotonic() for at in times] == [True, True]
    wakes.put(WakeReason.WORK)
    threading.Timer(0.05, wakes.put, [WakeReason.ENGINE]).start()
    assert wakes.wait(LIMIT_S, is_news) == {WakeReason.ENGINE}


def test_pool_runs_a_key_once() -> None:
    """A key has one piece of work until its result is taken; results come once, in the order of their ends."""
    ended, allowed, pool_runs = threading.Semaphore(0), threading.Event(), []
    pool: WorkPool[str, int] = WorkPool("test", ended.release)

    def work() -> int:
        pool_runs.append(1)
        assert allowed.wait(LIMIT_S)
        return 1

    for _ in range(3):
        pool.start("a", work)
    pool.start("b", lambda: 2)
    pool.wait({"b"}, LIMIT_S)
    pool.wait({"a"}, 0.0)
    assert pool.pending_keys == {"a", "b"}
    allowed.set()
    pool.wait({"a", "b"}, LIMIT_S)
    assert pool.has_ended_work
    pool.start("a", work)
    assert [(done.key, done.result) for done in pool.take_finished()] == [("b", 2), ("a", 1)]
    assert pool.take_finished() == [] and not pool.pending_keys and not pool.has_ended_work and len(pool_runs) == 1
    assert ended.acquire(timeout=LIMIT_S) and ended.acquire(timeout=LIMIT_S)


def test_pool_tells_mistakes() -> None:
    """An exception that is no result reaches the thread of the passes."""
    pool: WorkPool[str, int] = WorkPool("test", lambda: None)
    pool.start("a", lambda: 1 // 0)
    pool.wait({"a"}, LIMIT_S)
    with pytest.raises(ZeroDivisionError):
        pool.take_finished()
    begin = time.monotonic()
    pool.wait({"a"}, LIMIT_S)
    assert time.monotonic() - begin < LIMIT_S
