"""Print the figures of months of faulty sites, beside the verb `simulate`: wrong quarantines, and bad images caught."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from functools import partial

import click

from autopilot_watchdog.config.config_model import Config
from autopilot_watchdog.simulation.faulty_sites import SiteReport, simulate_site, sum_up

SITES_AT_ONCE = 50
HOST_MONTHS_PER_LINE = 250

MapSites = Callable[[Callable[[int], SiteReport], Iterable[int]], Iterator[SiteReport]]


def print_blame_figures(config: Config, host_months: int, output: str, *, seed: int, processes: int) -> None:
    """Simulate at least so many host-months of sites with steady faults, and a tenth of it with flaky ones.

    The figures so far are printed on standard error as the simulation goes on.

    Args:
        config: The configuration of every host.
        host_months: How many months of one host, in all.
        output: "text" or "json".
        seed: Number of the first site.
        processes: How many processes share the work; the figures do not depend on it.
    """
    figures: dict[str, Mapping[str, float]] = {}
    with ExitStack() as stack:
        map_sites: MapSites = map
        if processes > 1:
            map_sites = stack.enter_context(ProcessPoolExecutor(processes)).map
        for name, wanted in (("steady", host_months), ("flaky", -(-host_months // 10))):
            reports: list[SiteReport] = []
            done = 0
            for report in _simulate_sites(map_sites, config, wanted, seed, flaky=name == "flaky"):
                reports.append(report)
                for sentence in report.wrong:
                    line = f"site {report.number}, {name} faults, {'+'.join(report.kinds)}: wrong: {sentence}"
                    click.echo(line, err=output == "json")
                before, done = done, done + report.hosts
                if done // HOST_MONTHS_PER_LINE > before // HOST_MONTHS_PER_LINE:
                    click.echo(f"so far: {_format_figures(name, sum_up(reports))}", err=True)
            figures[name] = sum_up(reports)
            if output == "text":
                click.echo(_format_figures(name, figures[name]))
    if output == "json":
        click.echo(json.dumps(figures, indent=1))


def _simulate_sites(
    map_sites: MapSites, config: Config, host_months: int, seed: int, *, flaky: bool
) -> Iterator[SiteReport]:
    done = 0
    for first in itertools.count(seed, SITES_AT_ONCE):
        numbers = range(first, first + SITES_AT_ONCE)
        for report in map_sites(partial(simulate_site, config=config, flaky=flaky), numbers):
            done += report.hosts
            yield report
            if done >= host_months:
                return


def _format_figures(name: str, figures: Mapping[str, float]) -> str:
    return (
        f"{name} faults, {figures['host_months']} host-months: {figures['wrong_quarantines']} wrong quarantines; "
        f"beside broken slots {figures['renewals_delayed']} of {figures['renewals_beside_broken_slots']} renewals "
        "waited more than a minute; "
        f"bad images: {figures['bad_images_caught']} of {figures['bad_images_tried']} hosts caught them, after "
        f"{figures['lives_median']} lives (worst {figures['lives_worst']}) and {figures['minutes_median']:.1f} min "
        f"(worst {figures['minutes_worst']:.1f})"
    )
