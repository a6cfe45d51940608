"""Import heavy libraries in a thread: an import in the event loop's thread would delay every job."""

from __future__ import annotations

import asyncio
import importlib
import threading


async def import_modules(*modules: str) -> None:
    """Import modules in a thread of their own, and raise the error that an import raises."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()

    def set_outcome(error: Exception | None) -> None:
        if done.done():
            return
        if error is None:
            done.set_result(None)
        else:
            done.set_exception(error)

    def load() -> None:
        error: Exception | None = None
        try:
            for module in modules:
                importlib.import_module(module)
        except Exception as failure:
            error = failure
        if not loop.is_closed():
            loop.call_soon_threadsafe(set_outcome, error)

    threading.Thread(target=load, name="loading", daemon=True).start()  # a pool would keep a thread for ever
    await done
