"""Run one pass: the verb `run`, called by the timer."""

from __future__ import annotations

import time

import click

from autopilot_watchdog.cli.verb_support import (
    EX_CANTCREAT,
    EX_TEMPFAIL,
    config_option,
    fail,
    get_config_path,
    get_operator,
    open_audit,
)
from autopilot_watchdog.config.config_model import Config
from autopilot_watchdog.core import operator_orders
from autopilot_watchdog.core.audit_events import AuditEvent, describe_action
from autopilot_watchdog.display_text import show_controls
from autopilot_watchdog.shell.audit import Audit
from autopilot_watchdog.shell.reconcile import PassReport, Watchdog
from autopilot_watchdog.shell.state_file import AlreadyRunningError, StateError


@click.command()
@click.option("--dry-run", is_flag=True, help="Print the first actions; do and remember nothing.")
@click.option("--now", is_flag=True, help="End every wait first, as `retry` does; wait for another watchdog's pass.")
@config_option
def run(config: Config, dry_run: bool, now: bool) -> None:
    """Run one pass: look, decide, act. Leave if another watchdog is at work, unless with --now.

    Exit 0: all is well; 75: an engine does not answer, or a pull or start failed; 73: the state cannot be kept; 78: bad
    configuration, or one that the state folder does not belong to.
    """
    if dry_run:
        decision = Watchdog(config, Audit(), config_path=get_config_path()).plan_pass()
        for name, reason in decision.reasons.items():
            click.echo(show_controls(f"{name}  {reason.code}: {reason.sentence}"))
        for action in decision.actions:
            click.echo(show_controls("would {}: {}".format(*describe_action(action))))
        return
    audit = open_audit(config)
    watchdog = Watchdog(config, audit, config_path=get_config_path())
    try:
        if now:
            watchdog.refuse_foreign_state()
            _end_waits(config, watchdog, audit)
        report = watchdog.run_pass(lambda report: write_metrics(config, report, audit), waits=now)
        record_problems(report, audit)
    except AlreadyRunningError:
        click.echo("another watchdog is at work; leaving", err=True)
        return
    except StateError as error:
        fail(str(error), EX_CANTCREAT)
    if report.problems:
        raise SystemExit(EX_TEMPFAIL)


def _end_waits(config: Config, watchdog: Watchdog, audit: Audit) -> None:
    """End the waits of slots, host and pulls, and let registries be asked, before a pass that must not wait."""
    keys = {name: group.image_key for name, (group, _) in config.map_slots_to_groups().items()}
    with watchdog.store.lock(wait=True):
        memory, sentence = operator_orders.retry_now(watchdog.store.load(), keys)
        watchdog.store.save(memory)
    audit.record(AuditEvent.ORDER, f"a pass now: {sentence}", by=get_operator())


def record_problems(report: PassReport, audit: Audit) -> None:
    """Write a pass's problems to the audit log."""
    for problem in report.problems:
        audit.record(AuditEvent.PASS_FAILED, problem, "error")


def write_metrics(config: Config, report: PassReport, audit: Audit) -> None:
    """Write a pass's figures to the metrics' textfile."""
    if config.metrics.textfile:
        from autopilot_watchdog import watchdog_metrics

        try:
            watchdog_metrics.write_textfile(config, report.memory, report.reasons, time.time())
        except OSError as error:
            sentence = f"cannot write {config.metrics.textfile}: {error.strerror}"
            audit.record(AuditEvent.METRICS_FAILED, sentence, "warning")
