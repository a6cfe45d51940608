"""Print the figures of months of faulty sites, beside the verb `simulate`: wrong quarantines, and bad images caught."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from functools import partial

import click

from autopilot_watchdog.config.config_model import Config
from autopilot_watchdog.simulation.faulty_sites import SiteReport, simulate_site, sum_up

SITES_AT_ONCE = 50


def print_blame_figures(config: Config, host_months: int, output: str) -> None:
    """Simulate at least so many host-months of sites with steady faults, and a tenth of it with flaky ones."""
    figures: dict[str, Mapping[str, float]] = {}
    with ProcessPoolExecutor(os.cpu_count() or 1) as pool:
        for name, wanted in (("steady", host_months), ("flaky", -(-host_months // 10))):
            reports: list[SiteReport] = []
            for report in _simulate_sites(pool, config, wanted, flaky=name == "flaky"):
                reports.append(report)
                if output == "text":
                    for sentence in report.wrong:
                        click.echo(f"{name} {'+'.join(report.kinds)}: wrong: {sentence}")
            figures[name] = sum_up(reports)
            if output == "text":
                click.echo(_format_figures(name, figures[name]))
    if output == "json":
        click.echo(json.dumps(figures, indent=1))


def _simulate_sites(
    pool: ProcessPoolExecutor, config: Config, host_months: int, *, flaky: bool
) -> Iterator[SiteReport]:
    done = 0
    for first in itertools.count(0, SITES_AT_ONCE):
        numbers = range(first, first + SITES_AT_ONCE)
        for report in pool.map(partial(simulate_site, config=config, flaky=flaky), numbers):
            if done < host_months:
                done += report.hosts
                yield report
        if done >= host_months:
            return


def _format_figures(name: str, figures: Mapping[str, float]) -> str:
    return (
        f"{name} faults, {figures['host_months']} host-months: {figures['wrong_quarantines']} wrong quarantines; "
        f"bad images: {figures['bad_images_caught']} of {figures['bad_images_tried']} hosts caught them, after "
        f"{figures['lives_median']} lives (worst {figures['lives_worst']}) and {figures['minutes_median']:.1f} min "
        f"(worst {figures['minutes_worst']:.1f})"
    )
