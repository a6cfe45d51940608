"""autopilot-watchdog run: one pass, what the timer calls."""

from __future__ import annotations

import time

import click

from autopilot_watchdog.cli.common import EX_CANTCREAT, EX_TEMPFAIL, audit_for, fail, with_config
from autopilot_watchdog.config.model import Config
from autopilot_watchdog.core.actions import described
from autopilot_watchdog.shell.audit import Audit
from autopilot_watchdog.shell.onepass import Report, Watchdog
from autopilot_watchdog.shell.state import Busy, StateError


@click.command()
@click.option("--dry-run", is_flag=True, help="Say what would be done first; do and remember nothing.")
@with_config
def run(config: Config, dry_run: bool) -> None:
    """One pass: look, decide, act. When another watchdog is at work, this one leaves.

    Exit 0: all is well; 75: something does not answer or failed; 73: no state can be kept; 78: bad configuration.
    """
    if dry_run:
        decision = Watchdog(config, Audit()).plan()
        for name, reason in decision.reasons.items():
            click.echo(f"{name}  {reason.code}: {reason.sentence}")
        for action in decision.actions:
            click.echo("would {}: {}".format(*described(action)))
        return
    audit = audit_for(config)
    watchdog = Watchdog(config, audit)
    try:
        with watchdog.store.locked():
            report = watchdog.run()
            told(config, report, audit)
    except Busy:
        click.echo("another watchdog is at work; leaving", err=True)
        return
    except StateError as error:
        fail(str(error), EX_CANTCREAT)
    if report.troubles:
        raise SystemExit(EX_TEMPFAIL)


def told(config: Config, report: Report, audit: Audit) -> None:
    """Troubles to the journal, figures to Prometheus."""
    for trouble in report.troubles:
        audit.note("trouble", trouble, "error")
    if config.metrics.textfile:
        from autopilot_watchdog import metrics

        try:
            metrics.write(config, report.memory, report.reasons, time.time())
        except OSError as error:
            audit.note("metrics", f"cannot write {config.metrics.textfile}: {error.strerror}", "warning")
