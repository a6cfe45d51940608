"""Convert the configuration of another supervisor to a job spec."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from autopilot.spec.load_result import Problem, SpecError

if TYPE_CHECKING:
    from autopilot.spec.conversion.conversion_notes import Conversion


@click.command(name="convert", short_help="Convert a configuration of ContainerPilot 2 or supervisord to a job spec.")
@click.argument("file", type=click.Path(allow_dash=True))
@click.argument("main_command", metavar="[-- COMMAND...]", nargs=-1)
@click.option(
    "-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="Write to this file.  [default: stdout]"
)
@click.option("--force", is_flag=True, help="Let --output replace a file that is there.")
@click.option(
    "--from",
    "kind",
    type=click.Choice(["containerpilot2", "supervisord"]),
    help="Kind of FILE.  [default: found by its content]",
)
@click.option("--render", is_flag=True, help="Render the template with this shell's variables instead of keeping it.")
def command(  # noqa: PLR0917 - click
    file: str, main_command: tuple[str, ...], output: Path | None, force: bool, kind: str | None, render: bool
) -> None:
    r"""Convert FILE ("-": standard input), a configuration of ContainerPilot 2 or supervisord, to a job spec.

    What cannot be carried over is a comment in the job spec, and a warning on stderr with its place. A template of
    ContainerPilot is kept where that is possible, and %(ENV_NAME)s becomes one.

    \b
    ContainerPilot 2 has its main command on its command line; give it here after --:
      autopilot convert containerpilot.json -o autopilot.json5 -- nginx -g "daemon off;"
      autopilot convert /etc/supervisord.conf -o autopilot.json5
    """
    from autopilot.spec.conversion.converting import SUPERVISORD, convert_file

    if output is not None and str(output) == "-":
        output = None
    if output is not None and not force and os.path.lexists(output):
        raise click.UsageError(f"cannot write {output}: it is there already; remove it, or use --force")
    try:
        conversion = convert_file(file, os.environ, kind=kind, main_command=main_command, render=render)
        if main_command and conversion.kind == SUPERVISORD:
            raise click.UsageError("cannot use a main command: supervisord.conf names its programs itself")
    except SpecError as error:
        _print_problems("", error.problems)
        raise SystemExit(os.EX_CONFIG) from None
    if output is None:
        click.echo(conversion.text.encode(), nl=False)  # UTF-8 in every locale, as a job spec is read
    else:
        _write(output, conversion.text, force)
    _print_problems("warning: ", conversion.warnings)
    _check_result(conversion, str(output or "<stdout>"))


def _check_result(conversion: Conversion, name: str) -> None:
    """Tell of variables that are missing here, or else of the mistakes that the job spec took over."""
    missing = [variable for variable in conversion.variables if variable not in os.environ]
    if missing:
        click.echo(f"note: the job spec reads {', '.join(missing)}: set them for `autopilot check` too", err=True)
        return
    from autopilot.spec.spec_loading import load_text

    try:
        load_text(conversion.text, name, runs_here=False)
    except SpecError as error:
        _print_problems("warning: the job spec is not complete yet: ", error.problems)


def _print_problems(prefix: str, problems: Iterable[Problem]) -> None:
    for problem in problems:
        click.echo(f"{prefix}{problem}", err=True)


def _write(path: Path, text: str, force: bool) -> None:
    """Write a file that is new, or replace one whole."""
    new = path.with_name(f".{path.name}.new") if force else path
    try:
        descriptor = os.open(
            new, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | (os.O_TRUNC if force else os.O_EXCL), 0o644
        )
        with open(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        if force:
            new.replace(path)
    except OSError as error:
        raise click.ClickException(f"cannot write {path}: {(error.strerror or str(error)).lower()}") from None
