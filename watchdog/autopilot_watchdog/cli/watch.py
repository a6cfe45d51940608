"""Stay and react to the engines' events at once: the verb `watch`."""

from __future__ import annotations

import signal
import threading
import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from autopilot_watchdog.cli.run import record_problems, write_metrics
from autopilot_watchdog.cli.verb_support import (
    EX_CANTCREAT,
    config_option,
    fail,
    get_audit_path,
    get_config_path,
    open_audit,
)
from autopilot_watchdog.config.config_model import Config
from autopilot_watchdog.config.value_readers import InvalidValueError, parse_duration
from autopilot_watchdog.core.audit_events import AuditEvent
from autopilot_watchdog.engine.engine import Engine
from autopilot_watchdog.shell.audit import Audit
from autopilot_watchdog.shell.config_notifier import ConfigNotifier
from autopilot_watchdog.shell.config_source import ConfigSource
from autopilot_watchdog.shell.engine_listener import start_listener
from autopilot_watchdog.shell.reconcile import LOCK_WAIT_S, Watchdog
from autopilot_watchdog.shell.state_file import StateError
from autopilot_watchdog.shell.systemd_notify import extend_timeout, get_watchdog_interval_s, notify, report_alive
from autopilot_watchdog.shell.wake_pipe import forward_wakes, open_wake_pipe
from autopilot_watchdog.shell.wake_queue import WakeQueue, WakeReason

if TYPE_CHECKING:  # loaded only where metrics are asked for
    from autopilot_watchdog import watchdog_metrics

MIN_PASS_INTERVAL_S = 0.05  # between passes without an event


@click.command()
@click.option("--every", default="60s", show_default=True, help="A pass at least so often, events or not.")
@config_option
def watch(config: Config, every: str) -> None:
    """Stay, and fill a slot as soon as its engine reports the end of its container."""
    try:
        period = parse_duration(every)
    except InvalidValueError as error:
        raise click.BadParameter(f"must be {error}", param_hint="--every") from None
    wakes = WakeQueue()
    source = ConfigSource(get_config_path(), config)

    def ask_for_reload(*_: object) -> None:
        source.ask()
        wakes.put(WakeReason.ORDER)

    def look_at_config() -> None:
        if source.has_changed:
            wakes.put(WakeReason.CONFIG)

    signal.signal(signal.SIGHUP, ask_for_reload)
    notifier = ConfigNotifier(get_config_path(), look_at_config)
    audit = open_audit(config)
    watchdog = Watchdog(config, audit, partial(wakes.put, WakeReason.WORK), get_config_path())
    watchdog.refuse_foreign_state()  # before we take orders that are meant for another `watch`
    listening: set[Engine] = set()
    _listen_for_orders(config, audit, wakes)
    metrics_server = _start_metrics_server(config, audit)
    notify("READY=1")
    period = min(period, (get_watchdog_interval_s() or float("inf")) / 2)
    reasons: set[WakeReason] = set()
    while True:
        report_alive()
        try:
            with ExitStack() as stack:
                with extend_timeout(LOCK_WAIT_S):
                    stack.enter_context(watchdog.store.lock(wait=True))
                notifier.refresh()  # before the file is read, so that no change is missed
                if _reload_config(source, watchdog, audit):
                    metrics_server = _replace_metrics_server(metrics_server, config, source.config, audit)
                    config = source.config
                # work that has ended asks for no news: a slow registry would be asked without a pause
                report = watchdog.advance(asks_registries=reasons != {WakeReason.WORK})
                _listen_to_engines(watchdog, wakes, listening)
                record_problems(report, audit)
                write_metrics(config, report, audit)
                if metrics_server:
                    metrics_server.update(config, report.memory, report.reasons, time.time())
        except StateError as error:
            fail(str(error), EX_CANTCREAT)  # systemd starts us again
        due = time.time() + period
        due = min(at for at in (due, report.wake_at, source.look_again_at) if at)
        reasons = wakes.wait(max(MIN_PASS_INTERVAL_S, due - time.time()), watchdog.is_news)


def _reload_config(source: ConfigSource, watchdog: Watchdog, audit: Audit) -> bool:
    """Use the configuration's file if it has changed; return True if another configuration is in use now."""
    before, change = source.config, source.reload()
    watchdog.config_refused_since = source.refused_since
    if source.config != before:
        audit.use_settings(get_audit_path(source.config), source.config.notify, source.config.host)
        watchdog.use_config(source.config)
    if change is not None:
        event = AuditEvent.CONFIG_REFUSED if change.is_refused else AuditEvent.CONFIG_LOADED
        audit.record(event, change.sentence, "error" if change.is_refused else "info")
    return source.config != before


def _listen_to_engines(watchdog: Watchdog, wakes: WakeQueue, listening: set[Engine]) -> None:
    """Start a listener for each engine that has none; those of engines that are not used any more end."""
    engines = set(watchdog.engines.values())
    new = engines - listening
    listening |= new
    listening &= engines
    for engine in new:
        start_listener(engine, wakes, listening)


def _replace_metrics_server(
    server: watchdog_metrics.MetricsServer | None, before: Config, after: Config, audit: Audit
) -> watchdog_metrics.MetricsServer | None:
    """Return the server for another configuration."""
    if before.metrics.listen == after.metrics.listen:
        return server
    if server is not None:
        server.close()
    return _start_metrics_server(after, audit)


def _start_metrics_server(config: Config, audit: Audit) -> watchdog_metrics.MetricsServer | None:
    if not config.metrics.listen:
        return None
    from autopilot_watchdog import watchdog_metrics

    try:
        return watchdog_metrics.MetricsServer(config.metrics.listen)
    except OSError as error:
        reason = error.strerror or error
        sentence = f"cannot serve metrics on {config.metrics.listen}: {reason}; the watchdog goes on without them"
        audit.record(AuditEvent.METRICS_FAILED, sentence, "error")
        return None


def _listen_for_orders(config: Config, audit: Audit, wakes: WakeQueue) -> None:
    """Let the operator's verbs wake us."""
    try:
        pipe = open_wake_pipe(Path(config.state))
    except OSError as error:
        sentence = f"cannot listen for the operator's orders in {config.state}: {error.strerror}"
        audit.record(AuditEvent.PASS_FAILED, f"{sentence}; an order waits for the next pass", "warning")
        return
    threading.Thread(
        target=forward_wakes, args=(pipe, partial(wakes.put, WakeReason.ORDER)), daemon=True, name="orders"
    ).start()
