"""Print the figures of months of hosts with equally good images, and with slowly bad ones: `simulate --rates`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from functools import partial

import click

from autopilot_watchdog.config.suspicion_config import SuspicionConfig
from autopilot_watchdog.simulation.rate_sites import BAD_KINDS, simulate_rates, sum_up_rates


def print_rate_figures(settings: SuspicionConfig, host_months: int, output: str, *, seed: int, processes: int) -> None:
    """Simulate so many months of hosts with equally good digests, and as many with each kind of a slowly bad one.

    Args:
        settings: The settings of the comparison.
        host_months: How many months of one host for each line.
        output: "text" or "json".
        seed: Number of the first host.
        processes: How many processes share the work; the figures do not depend on it.
    """
    figures: dict[str, Mapping[str, float]] = {}
    numbers = range(seed, seed + host_months)
    with ProcessPoolExecutor(processes) as pool:
        for kind in ("", *BAD_KINDS):
            simulate = partial(simulate_rates, settings=settings, bad_kind=kind)
            reports = list(pool.map(simulate, numbers, chunksize=8))
            for report in reports:
                for sentence in report.false_alarms:
                    click.echo(f"host {report.number}, {kind or 'good'}: false alarm: {sentence}", err=True)
            figures[kind or "good"] = sum_up_rates(reports)
            if output == "text":
                click.echo(_format_figures(kind, figures[kind or "good"]))
    if output == "json":
        click.echo(json.dumps(figures, indent=1))


def _format_figures(kind: str, figures: Mapping[str, float]) -> str:
    alarms = f"{figures['false_alarms']} false alarms about {figures['digests_compared']} good digests"
    line = f"{kind or 'good'} images, {figures['host_months']} host-months: {alarms}"
    if not kind:
        return line
    return (
        f"{line}; bad digests: {figures['caught']} of {figures['bad_digests']} suspected, "
        f"after {figures['lives_median']} lives and {figures['hours_median']:.0f} h (medians)"
    )
