"""Look into a slot's lives: the verbs `logs`, `exec` and `history`."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

import click

from autopilot_watchdog.cli.verb_support import EX_TEMPFAIL, EX_USAGE, config_option, fail, output_option
from autopilot_watchdog.config.config_model import Config
from autopilot_watchdog.config.value_readers import InvalidValueError, parse_duration
from autopilot_watchdog.display_text import show_controls, show_lines
from autopilot_watchdog.engine.engine import EngineError
from autopilot_watchdog.shell.life_archive import MAX_LOG_LINES, LifeArchive
from autopilot_watchdog.shell.slot_finder import LiveSlot, SlotError, SlotFinder
from autopilot_watchdog.timestamps import format_age, format_timestamp

EX_INTERRUPTED = 130  # 128 + SIGINT


@click.command()
@click.argument("slot")
@click.option("--lines", "-n", default=100, show_default=True, type=click.IntRange(1, MAX_LOG_LINES), help="How many.")
@click.option("--life", default=0, metavar="N", help="Past life to show: 1 is the last one, 2 the one before.")
@click.option("--follow", "-f", "follows", is_flag=True, help="Print new lines as they come, to the container's end.")
@config_option
def logs(config: Config, slot: str, lines: int, life: int, follows: bool) -> None:
    """Print the last output of the slot's container, or of a past life; of an empty slot, of its last life.

    SLOT may be the name of a container, living or dead, too. Exit 64: there is no such slot, life or output; 75: the
    engine does not answer.
    """
    if follows:
        if life:
            raise click.UsageError("a past life has no new lines: give --follow or --life")
        _follow_log(config, slot, lines)
        return
    past = LifeArchive(Path(config.state)).find_life(slot)
    slot, life = past if past and life == 0 else (slot, life)
    live = _find_live_slot(config, slot) if life == 0 else None
    if live:
        try:
            text = live.engine.read_logs(live.container.id, lines)
        except EngineError as error:
            fail(f"cannot read the output of {live.container.name}: {error}", EX_TEMPFAIL)
    else:
        text = _read_past_log(config, find_lives_slot(config, slot), life or 1)
    for line in text.splitlines()[-lines:]:
        click.echo("\n".join(show_lines(line)))


def _follow_log(config: Config, slot: str, lines: int) -> None:
    """Print the lines of the slot's container until it ends; exit with 75 if the engine ends the stream before."""
    live = _find_live_slot(config, slot)
    if live is None:
        fail(f"{slot} has no container to follow; without --follow you see the output of its last life", EX_USAGE)
    name = live.container.name
    try:
        for line in live.engine.follow_logs(live.container.id, lines):
            click.echo("\n".join(show_lines(line)))
    except KeyboardInterrupt:
        raise SystemExit(EX_INTERRUPTED) from None
    except EngineError as error:
        fail(f"cannot read the output of {name}: {error}", EX_TEMPFAIL)
    finder = SlotFinder(config)
    alive = {found.container.id for found in finder.list_live()}
    if live.container.engine in finder.silent_engines:
        fail(f"{live.container.engine} does not answer any more, so the end of {name} is not known", EX_TEMPFAIL)
    if live.container.id in alive:
        fail(f"{name} lives on, but {live.container.engine} tells no more of its output", EX_TEMPFAIL)
    click.echo(show_controls(f"{name} has ended"), err=True)


def _read_past_log(config: Config, slot: str, number: int) -> str:
    archive = LifeArchive(Path(config.state))
    lives = archive.list_lives(slot)
    if not 1 <= number <= len(lives):
        fail(f"{slot} has no such past life: {len(lives)} are known, see `history {slot}`", EX_USAGE)
    life = lives[-number]
    text = archive.read_log(slot, life)
    if text is None:
        fail(f"the output of {life.container} is not kept, or there was none; see `history {slot}`", EX_USAGE)
    return text


@click.command(name="exec", context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.argument("slot")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
@click.option("--timeout", default="60s", show_default=True, help="The command is given up after so long.")
@config_option
def exec_command(config: Config, slot: str, command: tuple[str, ...], timeout: str) -> None:
    """Run COMMAND in the slot's container, without a terminal, and exit with its status (124: it took too long)."""
    try:
        limit_s = parse_duration(timeout)
    except InvalidValueError as error:
        raise click.BadParameter(f"must be {error}", param_hint="--timeout") from None
    command = command[1:] if command[0] == "--" else command
    if not command:
        raise click.UsageError("give the command to run after --")
    live = _find_live_slot(config, slot)
    if live is None:
        fail(f"{slot} has no container", EX_USAGE)
    try:
        status, output = live.engine.execute_command(live.container.id, command, limit_s)
    except EngineError as error:
        fail(f"cannot run {command[0]} in {live.container.name}: {error}", EX_TEMPFAIL)
    click.echo(output if not sys.stdout.isatty() else "\n".join(show_lines(output)))
    raise SystemExit(status)


def find_lives_slot(config: Config, name: str) -> str:
    """Return the slot of the past lives that a slot's or a container's name stands for; exit if there is none."""
    archive = LifeArchive(Path(config.state))
    if name in config.map_slots_to_groups() or archive.list_lives(name):
        return name
    if past := archive.find_life(name):
        return past[0]
    live = _find_live_slot(config, name)
    return live.container.slot if live else name


def _find_live_slot(config: Config, slot: str) -> LiveSlot | None:
    """Return the living container of a slot; exit if there is no such slot, or its engine does not answer."""
    try:
        return next(iter(SlotFinder(config).list_live([slot])), None)
    except SlotError as error:
        fail(str(error), EX_TEMPFAIL if error.is_unknown else EX_USAGE)


@click.command()
@click.argument("slot")
@output_option
@config_option
def history(config: Config, slot: str, output: str) -> None:
    """Print the past lives of the slot: begin, length, image, end and payloads; the newest is 1.

    SLOT may be the name of a container, too: that of its slot.
    """
    slot = find_lives_slot(config, slot)
    lives = LifeArchive(Path(config.state)).list_lives(slot)
    if output == "json":
        click.echo(
            json.dumps({"slot": slot, "lives": [{**asdict(life), "length": life.length} for life in lives]}, indent=1)
        )
        return
    if not lives:
        click.echo(f"no past life of {slot} is known")
        return
    table = [["LIFE", "STARTED", "LENGTH", "DIGEST", "END", "VERDICT", "STATUS", "PAYLOADS", "CONTAINER"]]
    for number, life in zip(range(len(lives), 0, -1), lives, strict=True):
        payloads = f"{life.payloads_run}" + (f" ({life.payloads_killed} killed)" if life.payloads_killed else "")
        started = format_timestamp(life.started).partition(".")[0] + "Z" if life.started else "-"
        status = "-" if life.exit_code is None else str(life.exit_code)
        end = [life.code, life.verdict, status, payloads, life.container]
        table.append([str(number), started, format_age(life.length), life.digest[7:19] or "-", *end])
    widths = [max(len(line[column]) for line in table) for column in range(len(table[0]))]
    for line in table:
        click.echo(
            show_controls("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
        )
