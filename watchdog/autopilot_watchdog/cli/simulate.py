"""Simulate the effects of a push on a fleet, in virtual time with the real decisions: the verb `simulate`."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import click

from autopilot_watchdog.cli.blame_figures import print_blame_figures
from autopilot_watchdog.cli.rate_figures import print_rate_figures
from autopilot_watchdog.cli.verb_support import EX_USAGE, ConfigFile, fail, output_option
from autopilot_watchdog.config.canary_slots import CANARY, STABLE, format_canary_image
from autopilot_watchdog.config.config_model import Config, ConsulConfig
from autopilot_watchdog.config.config_reader import parse_config
from autopilot_watchdog.sentence_parts import format_count
from autopilot_watchdog.simulation.simulated_fleet import SimulatedFleet
from autopilot_watchdog.simulation.simulated_host import SimulatedHost
from autopilot_watchdog.simulation.simulated_registry import DigestBehaviour, SimulatedRegistry

OLD_DIGEST, NEW_DIGEST = (f"sha256:{letter * 64}" for letter in "01")
HOUR_S = 3600.0
PUSH_DELAY_S = 2 * HOUR_S  # from the beginning, until the fleet has settled
OUTAGE_WINDOW_S = (HOUR_S, 9 * HOUR_S)  # begin and end of the registry's outage, from the push
SCENARIO_LABELS = {"good": "a good push", "bad": "one that exits at once", "outage": "a good one, registry away (grey)"}
START_TIME_S = 1_800_000_000.0
EXAMPLE_CONFIG = (
    '{"slots": [{"name": "{host}-NN", "image": "registry.example.org/site/worker-node:stable", "count": 1}]}'
)


@dataclass(frozen=True, slots=True)
class Sample:
    """State of the fleet at one time."""

    hours: float  # since the push
    updated: float  # share of the living containers
    tried: float  # share of the hosts that have started the new digest
    quarantined: float  # share of the hosts
    lost: float  # slot-hours since the push
    heads: int  # most requests to the registry in one minute, since the last sample
    pulls: int


@click.command()
@click.option("--hosts", default=1000, show_default=True, help="How many.")
@click.option("--hours", default=36.0, show_default=True, help="After the push.")
@click.option("--step", default=3.0, show_default=True, help="Hours between two lines.")
@click.option("--scenario", type=click.Choice(["all", "good", "bad", "outage"]), default="all", show_default=True)
@click.option("--tag", type=click.Choice([STABLE, CANARY]), default=STABLE, show_default=True, help="Of the push.")
@click.option("--consul", is_flag=True, help="The hosts share their quarantines and the numbers of good lives.")
@click.option("--blame", type=click.IntRange(min=1), help="Instead: so many months of hosts with faults.")
@click.option("--rates", type=click.IntRange(min=1), help="Instead: so many months of hosts with slowly bad images.")
@click.option("--seed", type=click.IntRange(min=0), default=0, help="Of --blame, --rates: number of the first one.")
@click.option("--processes", type=click.IntRange(min=1), help="Most processes; default: one per CPU.")
@click.option("--plot", type=click.Path(path_type=Path), help="Also draw it, as PNG or SVG (needs matplotlib).")
@click.option("--config", "-c", type=ConfigFile(), help="Whose rings and waits; default: the defaults.")
@output_option
def simulate(
    *,
    hosts: int,
    hours: float,
    step: float,
    scenario: str,
    tag: str,
    consul: bool,
    blame: int | None,
    rates: int | None,
    seed: int,
    processes: int | None,
    plot: Path | None,
    config: Config | None,
    output: str,
) -> None:
    """Show the effects of a good push, a bad push and a registry's outage, in virtual time with the real decisions."""
    config = config or parse_config(EXAMPLE_CONFIG)
    if tag == CANARY and not any(group.canary for group in config.slots):
        fail("cannot push to the canary's tag: give a --config with a `canary`", EX_USAGE)
    processes = processes or os.cpu_count() or 1
    if blame:
        print_blame_figures(config, blame, output, seed=seed, processes=processes)
        return
    if rates:
        print_rate_figures(config.suspicion, rates, output, seed=seed, processes=processes)
        return
    if consul:
        config = replace(config, consul=config.consul or ConsulConfig())
    names = ("good", "bad", "outage") if scenario == "all" else (scenario,)
    runs = {}
    with ProcessPoolExecutor(min(len(names), processes)) as pool:
        for name, computed in [
            (name, pool.submit(_run_scenario, name, config, hosts, hours, step, tag)) for name in names
        ]:
            runs[name], seconds = computed.result()
            if output == "text":
                _print_table(name, runs[name], hosts, seconds)
    if output == "json":
        lines = {
            name: [{key: getattr(s, key) for key in s.__dataclass_fields__} for s in run] for name, run in runs.items()
        }
        click.echo(json.dumps(lines, indent=1))
    if plot:
        _plot(runs, hosts, plot)


def _run_scenario(  # noqa: PLR0917  # as the verb
    scenario: str, config: Config, hosts: int, hours: float, step: float, tag: str
) -> tuple[list[Sample], float]:
    """Run a scenario; return its samples and the seconds of computing time."""
    start = time.process_time()
    return list(collect_samples(scenario, config, hosts, hours, step, tag=tag)), time.process_time() - start


def collect_samples(
    scenario: str, config: Config, hosts: int, hours: float, step: float, *, tag: str = STABLE
) -> Iterator[Sample]:
    """Simulate a scenario and yield a sample every so many hours after the push.

    Args:
        scenario: "good", "bad" or "outage".
        config: The configuration of every host.
        hosts: Number of hosts.
        hours: Hours to simulate after the push.
        step: Hours between two samples.
        tag: STABLE if the push is to the tags of the groups' own images, CANARY for those of their canaries.
    """
    push = START_TIME_S + PUSH_DELAY_S
    pushes = {STABLE: [(0.0, OLD_DIGEST)], CANARY: [(0.0, OLD_DIGEST)]}
    pushes[tag].append((push, NEW_DIGEST))
    registry = SimulatedRegistry(
        pushes[STABLE],
        tag_pushes={format_canary_image(group): pushes[CANARY] for group in config.slots if group.canary},
        outages=[(push + OUTAGE_WINDOW_S[0], push + OUTAGE_WINDOW_S[1])] if scenario == "outage" else [],
        behaviours={NEW_DIGEST: DigestBehaviour(fails_after=5.0)} if scenario == "bad" else {},
    )
    fleet = SimulatedFleet(
        (SimulatedHost(replace(config, host=f"h{number}"), registry, staggered=True) for number in range(hosts)),
        START_TIME_S,
    )
    fleet.run_until(push)
    lost, at = fleet.compute_lost_slot_seconds(), push
    while at < push + hours * HOUR_S:
        begin, at = at, at + step * HOUR_S
        fleet.run_until(at)
        minutes = range(int(begin // 60), int(at // 60))
        yield Sample(
            hours=(at - push) / HOUR_S,
            updated=fleet.compute_share(NEW_DIGEST),
            tried=sum(host.has_started(NEW_DIGEST) for host in fleet.hosts) / hosts,
            quarantined=sum(
                NEW_DIGEST in image.quarantine for host in fleet.hosts for image in host.memory.images.values()
            )
            / hosts,
            lost=(fleet.compute_lost_slot_seconds() - lost) / HOUR_S,
            heads=max(registry.request_counts[minute] for minute in minutes),
            pulls=max(registry.pull_counts[minute] for minute in minutes),
        )


def _print_table(name: str, run: list[Sample], hosts: int, duration_s: float) -> None:
    click.echo(f"{name}: {format_count(hosts, 'host')}, {duration_s:.0f} s of computing")
    click.echo("hours  updated   tried  quarantined  lost slot-hours  HEADs/min max  pulls/min max")
    for s in run:
        click.echo(
            f"{s.hours:5.1f}  {s.updated:6.1%}  {s.tried:6.1%}  "
            f"{s.quarantined:10.1%}  {s.lost:15.2f}  {s.heads:13}  {s.pulls:13}"
        )


def _plot(runs: dict[str, list[Sample]], hosts: int, path: Path) -> None:
    try:
        import matplotlib

        matplotlib.use("Agg")
        from matplotlib import pyplot
    except ImportError:
        fail("cannot draw: matplotlib is not installed (pip install matplotlib)", EX_USAGE)
    figure, axes = pyplot.subplots(4, 1, sharex=True, figsize=(9, 10), layout="constrained")
    panels: dict[str, Callable[[Sample], float]] = {
        "containers updated, %": lambda sample: 100 * sample.updated,
        "slot-hours lost": lambda sample: sample.lost,
        "HEADs in the worst minute": lambda sample: sample.heads,
        "pulls in the worst minute": lambda sample: sample.pulls,
    }
    for axis, (title, value) in zip(axes, panels.items(), strict=True):
        for (name, run), dashes in zip(runs.items(), ("-", "--", ":"), strict=False):  # some lines overlap
            begin = [] if "minute" in title else [(0.0, 0.0)]
            points = [*begin, *((sample.hours, value(sample)) for sample in run)]
            axis.plot(*zip(*points, strict=True), dashes, marker=".", linewidth=2, label=SCENARIO_LABELS[name])
        if "outage" in runs:
            axis.axvspan(OUTAGE_WINDOW_S[0] / HOUR_S, OUTAGE_WINDOW_S[1] / HOUR_S, color="grey", alpha=0.12)
        axis.set_title(title, loc="left", fontsize="medium")
        axis.set_ylim(bottom=0)
        axis.set_xlim(left=0)
        axis.grid(alpha=0.3)
    figure.suptitle(f"A push to {format_count(hosts, 'host')} with one slot each")
    axes[0].legend()
    axes[-1].set_xlabel("hours after the push")
    figure.savefig(path)
