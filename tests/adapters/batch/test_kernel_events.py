"""Kernel notifications about a directory, with real directories."""

from __future__ import annotations

import asyncio
from pathlib import Path

from autopilot.adapters.batch.kernel_events import DirectoryWatch


async def wait_for(event: asyncio.Event) -> None:
    await asyncio.wait_for(event.wait(), 60)
    event.clear()


async def test_a_directory_that_is_made_again(tmp_path: Path) -> None:
    """The watch ends with its directory and says so, and begins again when it is started for the new one."""
    loop, changed, folder = asyncio.get_running_loop(), asyncio.Event(), tmp_path / "spool"
    watch = DirectoryWatch(changed.set)
    assert not watch.start(folder, loop) and not watch.is_watching
    folder.mkdir()
    assert watch.start(folder, loop) and watch.is_watching
    folder.rmdir()
    await wait_for(changed)
    assert not watch.is_watching
    folder.mkdir()
    assert watch.start(folder, loop)
    (folder / "step").touch()
    await wait_for(changed)
    assert watch.is_watching
    watch.stop(loop)
    assert not watch.is_watching
