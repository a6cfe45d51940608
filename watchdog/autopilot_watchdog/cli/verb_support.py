"""Support the verbs: the configuration option, the audit log, exit codes (sysexits.h)."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any, NoReturn

import click

from autopilot_watchdog.config.config_model import Config
from autopilot_watchdog.config.config_reader import ConfigError, load_config
from autopilot_watchdog.display_text import show_lines
from autopilot_watchdog.shell.audit import Audit

CONFIG_PATH_KEY = "autopilot_watchdog.config_path"  # of the path in click's context
DEFAULT_CONFIG_PATH = "/etc/autopilot-watchdog.json"
EX_USAGE, EX_CANTCREAT, EX_TEMPFAIL, EX_CONFIG = 64, 73, 75, 78


class ConfigFile(click.Path):
    """Parameter type of a configuration file, which is read and validated."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the file's Config; exit with 78 if it has problems."""
        if isinstance(value, Config):
            return value
        if ctx is not None:
            ctx.meta[CONFIG_PATH_KEY] = Path(value)
        try:
            return load_config(Path(value))
        except ConfigError as error:
            fail(str(error), EX_CONFIG)


config_option = click.option(
    "--config",
    "-c",
    type=ConfigFile(),
    envvar="AUTOPILOT_WATCHDOG_CONFIG",
    default=DEFAULT_CONFIG_PATH,
    show_default=True,
    show_envvar=True,
    help="The configuration.",
)
output_option = click.option(
    "-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True, help="How to print."
)


def fail(sentence: str, code: int) -> NoReturn:
    """Print a sentence to standard error and exit with the code."""
    for line in show_lines(sentence):
        click.echo(line, err=True)
    raise SystemExit(code)


def open_audit(config: Config) -> Audit:
    """Open the audit log for writing."""
    with contextlib.suppress(OSError):  # the state store reports a folder that cannot be created
        Path(config.state).mkdir(parents=True, exist_ok=True, mode=0o755)
    return Audit(get_audit_path(config))


def get_audit_path(config: Config) -> Path:
    """Return the path of the audit log."""
    return Path(config.audit) if config.audit else Path(config.state) / "audit.jsonl"
