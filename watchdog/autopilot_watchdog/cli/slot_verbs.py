"""Empty slots and keep them empty: the verbs `drain`, `cordon`, `uncordon`, `retire` and `stop`."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import click

from autopilot_watchdog.bounded_json import clip_text
from autopilot_watchdog.cli.order_verbs import apply_order
from autopilot_watchdog.cli.verb_support import (
    EX_TEMPFAIL,
    EX_USAGE,
    config_option,
    fail,
    get_operator,
    open_audit,
    resolve_slots,
)
from autopilot_watchdog.config.config_model import Config
from autopilot_watchdog.config.value_readers import InvalidValueError, parse_duration
from autopilot_watchdog.core import cordons
from autopilot_watchdog.core.audit_events import AuditEvent
from autopilot_watchdog.core.memory import Cordon
from autopilot_watchdog.display_text import show_controls
from autopilot_watchdog.engine.engine import EngineError, EngineUnreachableError
from autopilot_watchdog.sentence_parts import describe_failed_command
from autopilot_watchdog.shell.end_waiter import EndWaiter
from autopilot_watchdog.shell.slot_finder import LiveSlot, SlotError, SlotFinder
from autopilot_watchdog.shell.state_file import StateError, StateStore
from autopilot_watchdog.timestamps import format_age

MAX_REASON_CHARS = 300  # of an order to cordon
DEFAULT_STOP_TIMEOUT_S = 10.0  # the engines' own
STOP_SLACK_S = 30.0  # for the engine to end a container after its stop timeout

slots_argument = click.argument("slots", nargs=-1)
reason_option = click.option("--reason", default="", help="Reason that `status` and `explain` will tell.")
wait_option = click.option("--wait", "waits", is_flag=True, help="Return when these containers have ended.")
timeout_option = click.option(
    "--timeout", help="With --wait: give up waiting after so long, such as 2h. They drain on."
)


@click.command()
@slots_argument
@click.option("--host", "whole_host", is_flag=True, help="Cordon the host and drain every slot, for maintenance.")
@wait_option
@timeout_option
@reason_option
@config_option
def drain(  # noqa: PLR0917  # the options of a verb
    config: Config, slots: tuple[str, ...], whole_host: bool, waits: bool, timeout: str | None, reason: str
) -> None:
    """Ask the containers of SLOTS to drain; each slot is filled again after its end, unless it is cordoned.

    A container's name does, too, also that of a surplus one.

    Exit 75: a container could not be asked, or has not ended within --timeout.
    """
    if bool(slots) == whole_host:
        raise click.UsageError("give either the slots to drain or --host")
    limit_s = _parse_wait_limit(waits, timeout)
    if whole_host:
        _add_cordons(config, (), reason)  # also while an engine is silent
        finder = SlotFinder(config)
        live = finder.list_live()
        _drain_slots(config, live, (), finder.troubles)
    else:
        live = _find_live_slots(config, slots)
        _drain_slots(config, live, slots)
    if waits:
        _wait_for_ends(config, live, limit_s)


@click.command()
@slots_argument
@reason_option
@config_option
def cordon(config: Config, slots: tuple[str, ...], reason: str) -> None:
    """Fill SLOTS no more (without one: the whole host), until `uncordon`; containers run on."""
    _add_cordons(config, resolve_slots(config, slots), reason)


@click.command()
@slots_argument
@config_option
def uncordon(config: Config, slots: tuple[str, ...]) -> None:
    """Fill SLOTS again; without one, end every cordon."""
    known = StateStore(Path(config.state)).peek().cordons
    names = [slot if slot in known else resolve_slots(config, [slot])[0] for slot in slots]
    apply_order(config, lambda memory: cordons.remove_cordons(memory, names))


@click.command()
@click.argument("slots", nargs=-1, required=True)
@wait_option
@timeout_option
@reason_option
@config_option
def retire(config: Config, slots: tuple[str, ...], waits: bool, timeout: str | None, reason: str) -> None:
    """Take SLOTS out of service: cordon them, and ask their containers to drain. `uncordon` brings them back.

    Exit 75: a container could not be asked, or has not ended within --timeout.
    """
    limit_s = _parse_wait_limit(waits, timeout)
    live = _find_live_slots(config, slots)
    _cordon_slots(config, live, slots, reason)
    _drain_slots(config, live, slots)
    if waits:
        _wait_for_ends(config, live, limit_s)


@click.command()
@click.argument("slots", nargs=-1, required=True)
@reason_option
@config_option
def stop(config: Config, slots: tuple[str, ...], reason: str) -> None:
    """Stop the containers of SLOTS now and cordon these slots; payloads that cannot end in time are lost.

    The engine sends SIGTERM, and SIGKILL after the slot's `stop_timeout`. Exit 75: a container could not be stopped.
    """
    live = _find_live_slots(config, slots)
    _cordon_slots(config, live, slots, reason)
    audit, problems, failed = open_audit(config), [], set()
    noted = _note_orders(config, live)
    for found in live:
        stop_timeout_s = found.group.stop_timeout if found.group else 0.0
        limit_s = (stop_timeout_s or DEFAULT_STOP_TIMEOUT_S) + STOP_SLACK_S
        try:
            found.engine.stop_container(found.container.id, limit_s)
        except EngineUnreachableError as error:
            ending = "the engine goes on stopping it" if error.timed_out else str(error)
            problems.append(f"{found.container.name} has not ended within {limit_s:g} s: {ending}")
            failed |= set() if error.timed_out else {found.container.id}
        except EngineError as error:
            problems.append(f"cannot stop {found.container.name}: {error}")
            failed.add(found.container.id)
        else:
            sentence = f"{found.container.name} was stopped"
            audit.record(AuditEvent.ORDER, sentence, slot=found.slot, by=get_operator())
    _settle_orders(config, failed=noted & failed)
    _report_missing(live, slots)
    if problems:
        fail("\n".join(problems), EX_TEMPFAIL)


def _find_live_slots(config: Config, slots: Sequence[str]) -> list[LiveSlot]:
    """Return the living containers of slots; exit if one does not exist, or an engine does not answer."""
    try:
        return SlotFinder(config).list_live(slots)
    except SlotError as error:
        fail(str(error), EX_TEMPFAIL if error.is_unknown else EX_USAGE)


def _cordon_slots(config: Config, live: Sequence[LiveSlot], names: Sequence[str], reason: str) -> None:
    """Cordon the named slots and those of the named containers; a surplus container has no slot to cordon."""
    known = config.map_slots_to_groups()
    slots = [found.slot for found in live if found.slot in known] + [name for name in names if name in known]
    if slots:
        _add_cordons(config, slots, reason)


def _add_cordons(config: Config, slots: Sequence[str], reason: str) -> None:
    order = Cordon(time.time(), get_operator(), clip_text(reason, MAX_REASON_CHARS))
    apply_order(config, lambda memory: cordons.add_cordons(memory, slots, order))


def _drain_slots(config: Config, live: Sequence[LiveSlot], slots: Sequence[str], troubles: Sequence[str] = ()) -> None:
    """Ask containers to drain, and remember those that were asked; exit with 75 if one could not be asked.

    Args:
        config: The configuration.
        live: The containers.
        slots: The slots and containers that the operator named.
        troubles: Sentences about engines that do not answer.
    """
    audit, problems, asked = open_audit(config), list(troubles), []
    noted: set[str] = set()
    with suppress(StateError):  # a full disk keeps no container from its drain; the second save reports it
        noted = _note_orders(config, live)
    for found in live:
        command = found.group.drain if found.group else found.container.claims.drain
        try:
            status, output = found.engine.execute_command(found.container.id, command)
        except EngineError as error:
            problems.append(f"cannot ask {found.container.name} to drain: {error}")
            continue
        if status:
            sentence = describe_failed_command(command, status, output)
            problems.append(f"cannot ask {found.container.name} to drain: {sentence}")
            continue
        asked.append(found.container.id)
        sentence = f"{found.container.name} was asked to drain"
        audit.record(AuditEvent.DRAIN, sentence, slot=found.slot, by=get_operator())
    _settle_orders(config, drained=asked, failed=noted.difference(asked))
    _report_missing(live, slots)
    if problems:
        for sentence in problems:
            audit.record(AuditEvent.DRAIN_FAILED, sentence, "warning", by=get_operator())
        raise SystemExit(EX_TEMPFAIL)


def _note_orders(config: Config, live: Sequence[LiveSlot]) -> set[str]:
    """Remember that these containers are asked to end, before they are asked: a `watch` judges an end at once.

    Returns:
        The ids that no earlier order had noted.
    """
    if not live:
        return set()
    store = StateStore(Path(config.state))
    with store.lock(wait=True):
        memory = store.load()
        added = {found.container.id: None for found in live if found.container.id not in memory.ordered_ends}
        store.save(replace(memory, ordered_ends=(*memory.ordered_ends, *added)))
    return set(added)


def _settle_orders(config: Config, *, drained: Sequence[str] = (), failed: Collection[str] = ()) -> None:
    """Remember the containers that were asked to drain, and forget the noted orders that failed: later ends count."""
    if not drained and not failed:
        return
    store = StateStore(Path(config.state))
    with store.lock(wait=True):
        memory = store.load()
        ordered_ends = tuple(id for id in memory.ordered_ends if id not in failed)
        all_drained = tuple(dict.fromkeys([*memory.drained, *drained]))
        store.save(replace(memory, ordered_ends=ordered_ends, drained=all_drained))


def _parse_wait_limit(waits: bool, timeout: str | None) -> float | None:
    """Return the seconds to wait for the ends of containers; None for no limit."""
    if timeout is None:
        return None
    if not waits:
        raise click.UsageError("--timeout limits a wait: give --wait, too")
    try:
        return parse_duration(timeout)
    except InvalidValueError as error:
        raise click.BadParameter(f"must be {error}", param_hint="--timeout") from None


def _wait_for_ends(config: Config, live: Sequence[LiveSlot], limit_s: float | None) -> None:
    """Wait until containers have ended, and tell each end; exit with 75 if the time is over before."""
    waiter = EndWaiter(config, live)
    for found in waiter.wait(limit_s):
        click.echo(show_controls(f"{found.container.name} has ended"))
    if waiter.remaining:
        names = ", ".join(sorted(found.container.name for found in waiter.remaining))
        fail(f"not ended within {format_age(limit_s or 0.0)}, and still draining: {names}", EX_TEMPFAIL)


def _report_missing(live: Sequence[LiveSlot], slots: Sequence[str]) -> None:
    """Tell the slots that have no container."""
    for name in slots:
        if all(name not in {found.slot, found.container.name} for found in live):
            click.echo(show_controls(f"{name} has no container"))
