"""Print the JSON Schema of the job spec, for editors."""

from __future__ import annotations

import json

import click


@click.command(name="schema", short_help="Print the JSON Schema of the job spec.")
def command() -> None:
    """Print the JSON Schema of the job spec, for an editor's completion and checks.

    An editor finds the schema by a first line `"$schema": "PATH"` in the job spec; the loader ignores that line.
    """
    from autopilot.spec.json_schema import build_json_schema

    click.echo(json.dumps(build_json_schema(), indent=2))
