"""autopilot-watchdog watch: stay, and react to the engines' events at once."""

from __future__ import annotations

import queue
import threading
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

import click

from autopilot_watchdog.cli.common import EX_CANTCREAT, audit_for, fail, with_config
from autopilot_watchdog.cli.run import told
from autopilot_watchdog.config.model import Config
from autopilot_watchdog.config.values import Wrong, duration
from autopilot_watchdog.engine.client import EngineRefused, EngineUnreachable
from autopilot_watchdog.engine.engine import Engine
from autopilot_watchdog.shell.audit import Audit
from autopilot_watchdog.shell.notify import alive, alive_within, lasting, notify
from autopilot_watchdog.shell.onepass import Watchdog
from autopilot_watchdog.shell.state import StateError

if TYPE_CHECKING:  # loaded only where metrics are asked for
    from autopilot_watchdog import metrics

RECONNECT = (0.25, 5.0)  # s: first and longest wait before an engine is asked for its events again
OTHERS = 2 * 3600.0  # s that another watchdog's pass may last, by far
NEVER_SOONER = 0.05  # s between passes that were only due, not called for


@click.command()
@click.option("--every", default="60s", show_default=True, help="A pass at least so often, events or not.")
@with_config
def watch(config: Config, every: str) -> None:
    """Stay, and fill a slot as soon as the engine says that its container ended."""
    try:
        period = duration(every)
    except Wrong as error:
        raise click.BadParameter(f"must be {error}", param_hint="--every") from None
    audit = audit_for(config)
    watchdog = Watchdog(config, audit)
    heard: queue.SimpleQueue[str] = queue.SimpleQueue()
    for engine in watchdog.engines.values():
        threading.Thread(target=_listen, args=(engine, heard), daemon=True, name=f"events of {engine.name}").start()
    port = _port(config, audit)
    notify("READY=1")
    period = min(period, (alive_within() or float("inf")) / 2)
    while True:
        alive()
        try:
            with ExitStack() as stack:
                with lasting(OTHERS):
                    stack.enter_context(watchdog.store.locked(wait=True))
                report = watchdog.run()
                told(config, report, audit)
                if port:
                    port.tell(config, report.memory, report.reasons, time.time())
        except StateError as error:
            fail(str(error), EX_CANTCREAT)  # systemd starts us again
        due = time.time() + period
        due = min(due, report.wake) if report.wake else due
        _wait(heard, max(NEVER_SOONER, due - time.time()))


def _port(config: Config, audit: Audit) -> metrics.Port | None:
    if not config.metrics.listen:
        return None
    from autopilot_watchdog import metrics

    try:
        return metrics.Port(config.metrics.listen)
    except OSError as error:
        sentence = f"cannot serve metrics on {config.metrics.listen}: {error.strerror or error}; going on without"
        audit.note("metrics", sentence, "error")
        return None


def _wait(heard: queue.SimpleQueue[str], seconds: float) -> None:
    """Until an event comes or the time is over; what came together is one call."""
    try:
        heard.get(timeout=seconds)
        while True:
            heard.get_nowait()
    except queue.Empty:
        return


def _listen(engine: Engine, heard: queue.SimpleQueue[str]) -> None:
    """Pass every end of a container on. A connection that was lost, or came back, is news as well."""
    wait = RECONNECT[0]
    while True:
        try:
            for slot in engine.events():
                heard.put(slot)
                wait = RECONNECT[0]
        except (EngineUnreachable, EngineRefused, OSError, ValueError):
            pass  # the next pass says so
        time.sleep(wait)  # a socket that is not there notifies nobody
        wait = min(wait * 2, RECONNECT[1])
