"""autopilot plan: what a job spec comes to, rendered and with every default filled in."""

from __future__ import annotations

import json
import os
import re
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import click

from autopilot.cli.client import ask, socket_option, socket_path
from autopilot.spec.outcome import SpecError

MASK = "***"
_SECRET = re.compile(r"token|passw|secret|key|credential|authorization|cookie", re.I)
_MAPPINGS = {"env", "headers", "settings"}  # of names and values that users choose


@click.command(name="plan", short_help="Print the effective plan of a job spec, with defaults.")
@click.argument("config")
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", help="text: indented.")
@click.option("--diff", is_flag=True, help="What CONFIG would change in the supervisor that runs.")
@socket_option
def command(config: str, output: str, diff: bool, given_socket: str | None) -> None:
    """Print what the job spec CONFIG comes to: templates rendered with this shell's variables, every default filled in.

    With --diff: which jobs a reload would start, restart or remove, and each value that differs.

    Values of variables, headers and settings whose names look like secrets are masked; arguments of commands are not.
    """
    from autopilot.spec.loading import load
    from autopilot.spec.plandata import plan_to_data

    try:
        loaded = load(config, here=False)
    except SpecError as error:
        for problem in error.problems:
            click.echo(str(problem), err=True)
        raise SystemExit(os.EX_CONFIG) from None
    for warning in loaded.warnings:
        click.echo(f"warning: {warning}", err=True)
    if diff:
        from autopilot.cli.difference import as_text, difference

        found = difference(ask(socket_path(given_socket), "GET", "/v1/plan"), loaded.plan, masked)
        click.echo(json.dumps(found, indent=1) if output == "json" else "\n".join(as_text(found)))
        return
    click.echo(json.dumps(masked(plan_to_data(loaded.plan)), indent=2 if output == "text" else None))


def masked(data: Any, holder: str = "") -> Any:
    """Plan data without what looks like a secret. `holder` is the key that holds `data`."""
    if isinstance(data, list):
        return [masked(item, holder) for item in data]
    if isinstance(data, dict):
        secret = holder in _MAPPINGS
        return {
            k: MASK if v and (k == "acl_token" or (secret and _SECRET.search(k))) else masked(v, k)
            for k, v in data.items()
        }
    return _without_password(data) if holder == "url" and isinstance(data, str) else data


def _without_password(url: str) -> str:
    parts = urlsplit(url)
    if parts.password is None:
        return url
    return urlunsplit(parts._replace(netloc=f"{parts.username}:{MASK}@{parts.netloc.rpartition('@')[2]}"))
