"""Print the effective plan of a job spec, or its difference from the running plan."""

from __future__ import annotations

import json
import os
import re
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import click

from autopilot.cli.control_client import find_socket_path, send_request
from autopilot.cli.verb_options import config_argument, socket_option
from autopilot.spec.load_result import SpecError

MASK = "***"
_SECRET_PATTERN = re.compile(r"token|passw|secret|key|credential|authorization|cookie", re.I)
_SECRET_MAPPINGS = {"env", "headers", "settings"}  # sections with names and values that users choose


@click.command(name="plan", short_help="Print the effective plan of a job spec, with defaults.")
@config_argument
@click.option(
    "-o", "--output", type=click.Choice(["text", "json"]), default="text", help="Output format; text is indented JSON."
)
@click.option(
    "--diff", is_flag=True, help="Print only what a reload with CONFIG would change in the running supervisor."
)
@socket_option
def command(config: str, output: str, diff: bool, given_socket: str | None) -> None:
    """Print the effective plan of the job spec CONFIG; by default of the one that `autopilot run` would take.

    Templates are rendered with this shell's variables, and every default is filled in. With --diff, print the jobs that
    a reload would start, restart or remove, and each value that differs.

    Values of variables, headers and settings are masked when their names look like secrets; arguments of commands are
    not masked.
    """
    from autopilot.spec.plan_data import serialize_plan
    from autopilot.spec.spec_loading import load

    try:
        loaded = load(config, runs_here=False)
    except SpecError as error:
        for problem in error.problems:
            click.echo(str(problem), err=True)
        raise SystemExit(os.EX_CONFIG) from None
    for warning in loaded.warnings:
        click.echo(f"warning: {warning}", err=True)
    if diff:
        from autopilot.cli.plan_difference import compute_difference, format_difference

        difference = compute_difference(
            send_request(find_socket_path(given_socket), "GET", "/v1/plan"), loaded.plan, redact_secrets
        )
        click.echo(json.dumps(difference, indent=1) if output == "json" else "\n".join(format_difference(difference)))
        return
    click.echo(json.dumps(redact_secrets(serialize_plan(loaded.plan)), indent=2 if output == "text" else None))


def redact_secrets(data: Any, parent_key: str = "") -> Any:
    """Return plan data with a mask in place of every value that looks like a secret.

    Args:
        data: Plan data, or a part of it.
        parent_key: Key of the object that holds `data`.
    """
    if isinstance(data, list):
        return [redact_secrets(item, parent_key) for item in data]
    if isinstance(data, dict):
        secret = parent_key in _SECRET_MAPPINGS
        return {
            k: MASK if v and (k == "acl_token" or (secret and _SECRET_PATTERN.search(k))) else redact_secrets(v, k)
            for k, v in data.items()
        }
    return _redact_password(data) if parent_key == "url" and isinstance(data, str) else data


def _redact_password(url: str) -> str:
    parts = urlsplit(url)
    if parts.password is None:
        return url
    return urlunsplit(parts._replace(netloc=f"{parts.username}:{MASK}@{parts.netloc.rpartition('@')[2]}"))
