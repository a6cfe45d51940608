"""autopilot-watchdog explain: why a slot is as it is."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import click

from autopilot_watchdog.cli.common import EX_USAGE, audit_path, fail, output_option, with_config
from autopilot_watchdog.cli.status import age
from autopilot_watchdog.config.model import Config
from autopilot_watchdog.core.decide import decide
from autopilot_watchdog.core.memory import Memory
from autopilot_watchdog.core.reasons import CODES
from autopilot_watchdog.core.rollout import admitted_at, choices, deadline
from autopilot_watchdog.shell.audit import Audit, lately
from autopilot_watchdog.shell.onepass import Watchdog


@click.command()
@click.argument("slot")
@output_option
@with_config
def explain(config: Config, slot: str, output: str) -> None:
    """One reason code and one sentence for a slot; then what is known of its image, and what lately happened to it."""
    groups = config.group_of()
    if slot not in groups:
        fail(f"there is no slot {slot}; there are {', '.join(groups)}", EX_USAGE)
    watchdog = Watchdog(config, Audit())
    memory, now = watchdog.store.peek(), time.time()
    decision = decide(config, watchdog.look(memory, network=False), memory, now)
    reason, key = decision.reasons[slot], groups[slot][0].key
    facts = list(_facts(config, decision.memory, key, now))
    if output == "json":
        click.echo(
            json.dumps(
                {
                    "slot": slot,
                    "code": reason.code,
                    "sentence": reason.sentence,
                    "facts": facts,
                    "lately": lately(audit_path(config), slot),
                },
                indent=1,
            )
        )
        return
    click.echo(f"{slot} {reason.code}: {reason.sentence}")
    click.echo(f"  {reason.code}: {CODES[reason.code]}")
    for fact in facts:
        click.echo(f"  {fact}")
    for line in lately(audit_path(config), slot):
        click.echo(f"  {line}")


def _facts(config: Config, memory: Memory, key: str, now: float) -> Iterator[str]:
    image = memory.image(key)
    if image.head:
        yield f"the registry's newest is {image.head}, as of {age(now - image.head_at)} ago"
    if image.trouble:
        yield f"the registry's last answer was none: {image.trouble}"
    if image.pin:
        yield f"pinned to {image.pin}"
    if image.head and (urgency := image.trial(image.head, now).urgency or memory.urgency):
        by = deadline(memory, image.trial(image.head, now))
        if by is None:
            yield f'the urgency "{urgency}" is neither "now" nor a date, such as 2026-12-01T12:00Z: it is ignored'
        else:
            left = f"within {age(by - now)}" if by > now else "at once"
            yield f"the newest is urgent ({urgency}): containers of older ones are asked to drain {left}"
    if image.head and image.head not in image.quarantine:
        due = admitted_at(memory, key, image.head, config, now)
        if due > now:
            yield f"this host's turn for the newest comes in {age(due - now)}"
    for good in image.goods:
        yield f"good here: {good.digest}"
    for digest, held in image.quarantine.items():
        told = {"shared": "this host, which told the fleet", "host": "this host", "fleet": "the fleet"}
        who = told.get(held.source, f"the {held.source}")
        proof = "" if held.confirmed else " (not confirmed: no good digest has lived well here since)"
        yield f"quarantined {age(now - held.since)} ago by {who}{proof}: {digest}: {held.reason}"
        yield f"  to lift that: autopilot-watchdog release {digest[:19]}"
    found = choices(memory, key, config, now)
    yield f"the next life takes {found[0].digest}, {found[0].why}" if found else "no digest may be started"
