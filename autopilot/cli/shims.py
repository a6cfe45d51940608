"""Write `systemctl` and `service` commands, for scripts that need them."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

import click

from autopilot.cli.verb_options import output_option, print_result

SHIM_NAMES = ("systemctl", "service")
SHIM_MARKER = "# written by `autopilot shims`"
SYSTEMD_RUNTIME_PATH = Path("/run/systemd/system")  # sd_booted(3)


@click.command()
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path))
@click.option("--replace", is_flag=True, help="Also replace a systemctl or service of another origin.")
@output_option
def command(directory: Path, replace: bool, output: str) -> None:
    r"""Write the commands `systemctl` and `service` into DIRECTORY. They act on the jobs of this container.

    \b
    In a Dockerfile, into a directory that comes before /usr/bin in PATH:
      RUN autopilot shims /usr/local/bin
    """
    if SYSTEMD_RUNTIME_PATH.exists() and str(directory.resolve()) in os.environ.get("PATH", "").split(":"):
        raise click.ClickException(f"systemd runs this machine: shims in {directory} would hide its own systemctl")
    foreign = [path for path in map(directory.joinpath, SHIM_NAMES) if path.exists() and not _is_our_shim(path)]
    if foreign and not replace:
        remedy = "choose a directory that comes earlier in PATH, such as /usr/local/bin, or use --replace"
        raise click.ClickException(f"cannot write {foreign[0]}: another command is there; {remedy}")
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for name in SHIM_NAMES:
            _write_shim(directory / name, name)
    except OSError as error:
        raise click.ClickException(f"cannot write into {directory}: {error.strerror}") from None
    written = [str(directory / name) for name in SHIM_NAMES]
    print_result(output, "\n".join(written), {"written": written})


def _is_our_shim(path: Path) -> bool:
    try:
        return SHIM_MARKER.encode() in path.read_bytes()[:200]
    except OSError:
        return False


def _write_shim(path: Path, name: str) -> None:
    """Write a shim whole or not at all, and replace a link instead of writing through it."""
    new = path.with_name(f".{name}.new")
    new.write_text(f'#!/bin/sh\n{SHIM_MARKER}\nexec {_find_program()} {name} "$@"\n')
    new.chmod(0o755)
    new.replace(path)


def _find_program() -> str:
    """Return the command that runs this program, quoted for a shell: the installed command, or the module."""
    called = Path(sys.argv[0]).absolute()
    if called.name == "autopilot" and os.access(called, os.X_OK):
        return shlex.quote(str(called))
    return f"{shlex.quote(sys.executable)} -m autopilot"
