"""autopilot-watchdog run: one pass, what the timer calls."""

from __future__ import annotations

import time

import click

from autopilot_watchdog.cli.verb_support import EX_CANTCREAT, EX_TEMPFAIL, config_option, fail, open_audit
from autopilot_watchdog.config.config_model import Config
from autopilot_watchdog.core.slot_actions import describe
from autopilot_watchdog.shell.audit import Audit
from autopilot_watchdog.shell.reconcile import PassReport, Watchdog
from autopilot_watchdog.shell.state_file import AlreadyRunningError, StateError


@click.command()
@click.option("--dry-run", is_flag=True, help="Say what would be done first; do and remember nothing.")
@config_option
def run(config: Config, dry_run: bool) -> None:
    """One pass: look, decide, act. When another watchdog is at work, this one leaves.

    Exit 0: all is well; 75: something does not answer or failed; 73: no state can be kept; 78: bad configuration.
    """
    if dry_run:
        decision = Watchdog(config, Audit()).plan_pass()
        for name, reason in decision.reasons.items():
            click.echo(f"{name}  {reason.code}: {reason.sentence}")
        for action in decision.actions:
            click.echo("would {}: {}".format(*describe(action)))
        return
    audit = open_audit(config)
    watchdog = Watchdog(config, audit)
    try:
        with watchdog.store.lock():
            report = watchdog.run_pass()
            report_pass(config, report, audit)
    except AlreadyRunningError:
        click.echo("another watchdog is at work; leaving", err=True)
        return
    except StateError as error:
        fail(str(error), EX_CANTCREAT)
    if report.problems:
        raise SystemExit(EX_TEMPFAIL)


def report_pass(config: Config, report: PassReport, audit: Audit) -> None:
    """Troubles to the journal, figures to Prometheus."""
    for trouble in report.problems:
        audit.record("trouble", trouble, "error")
    if config.metrics.textfile:
        from autopilot_watchdog import watchdog_metrics

        try:
            watchdog_metrics.write_textfile(config, report.memory, report.reasons, time.time())
        except OSError as error:
            audit.record("metrics", f"cannot write {config.metrics.textfile}: {error.strerror}", "warning")
