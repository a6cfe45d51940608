"""Support the verbs: the configuration option, the audit log, exit codes (sysexits.h)."""

from __future__ import annotations

import contextlib
import os
import pwd
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NoReturn

import click

from autopilot_watchdog.config.config_model import Config
from autopilot_watchdog.config.config_reader import ConfigError, load_config
from autopilot_watchdog.core.audit_events import AuditEvent
from autopilot_watchdog.display_text import show_lines
from autopilot_watchdog.shell.audit import Audit

CONFIG_PATH_KEY = "autopilot_watchdog.config_path"  # of the path in click's context
DEFAULT_CONFIG_PATH = "/etc/autopilot-watchdog.json"
EX_USAGE, EX_CANTCREAT, EX_TEMPFAIL, EX_CONFIG = 64, 73, 75, 78


class ConfigFile(click.Path):
    """Parameter type of a configuration file that is read and validated."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the file's Config; exit with 78 if it has problems."""
        if isinstance(value, Config):
            return value
        if ctx is not None:
            ctx.meta[CONFIG_PATH_KEY] = Path(value)
        try:
            config = load_config(Path(value))
        except ConfigError as error:
            fail(str(error), EX_CONFIG)
        unknown = [event for event in config.notify.events if event not in set(AuditEvent)] if config.notify else []
        if unknown:
            known = ", ".join(AuditEvent)
            fail(f'{value}: notify.events: unknown event "{unknown[0]}"; known here: {known}', EX_CONFIG)
        return config


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


def check_slots(config: Config, names: Iterable[str]) -> None:
    """Exit with 64 if the configuration lacks one of these slots."""
    known = config.map_slots_to_groups()
    for name in names:
        if name not in known:
            fail(f"there is no slot {name}; there are {', '.join(known)}", EX_USAGE)


def get_operator() -> str:
    """Return the name of the user behind an order, also behind sudo."""
    if name := os.environ.get("SUDO_USER"):
        return name
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"uid {os.getuid()}"


def open_audit(config: Config) -> Audit:
    """Open the audit log for writing."""
    with contextlib.suppress(OSError):  # the state store reports a folder that cannot be created
        Path(config.state).mkdir(parents=True, exist_ok=True, mode=0o755)
    return Audit(get_audit_path(config), config.notify, config.host, Path(config.state))


def get_audit_path(config: Config) -> Path:
    """Return the path of the audit log."""
    return Path(config.audit) if config.audit else Path(config.state) / "audit.jsonl"
