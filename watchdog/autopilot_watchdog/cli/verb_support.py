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
from autopilot_watchdog.config.config_reader import ConfigError
from autopilot_watchdog.display_text import show_lines
from autopilot_watchdog.shell.audit import Audit
from autopilot_watchdog.shell.config_source import load_checked_config

CONFIG_PATH_KEY = "autopilot_watchdog.config_path"  # of the path in click's context
CONFIG_VARIABLE = "AUTOPILOT_WATCHDOG_CONFIG"
DEFAULT_CONFIG_PATH = "/etc/autopilot-watchdog.json"
EX_USAGE, EX_CANTCREAT, EX_TEMPFAIL, EX_CONFIG = 64, 73, 75, 78


def read_config(path: str) -> Config:
    """Return the configuration in the file; exit with 78 if it has problems."""
    try:
        return load_checked_config(Path(path))
    except ConfigError as error:
        fail(str(error), EX_CONFIG)


class ConfigFile(click.Path):
    """Parameter type of a configuration file that is read and validated."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the file's Config, and note its path; exit with 78 if it has problems."""
        if isinstance(value, Config):
            return value
        if ctx is not None:
            ctx.meta[CONFIG_PATH_KEY] = Path(value)
        return read_config(value)


config_option = click.option(
    "--config",
    "-c",
    type=ConfigFile(),
    envvar=CONFIG_VARIABLE,
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


def resolve_slots(config: Config, names: Iterable[str]) -> list[str]:
    """Return the slots of the configuration for names of slots or of their containers; exit if there is none."""
    known = config.map_slots_to_groups()
    found: list[str] = []
    for name in names:
        slot = name if name in known else _find_slot_of_container(config, name)
        if slot not in known:
            sentence = (
                "surplus, so the configuration has no slot for it that could be filled; `drain` and `stop` act on it"
            )
            fail(f"{name} is {sentence}", EX_USAGE)
        found.append(slot)
    return found


def _find_slot_of_container(config: Config, name: str) -> str:
    from autopilot_watchdog.shell.slot_finder import SlotError, SlotFinder

    try:
        return SlotFinder(config).find_slot(name)
    except SlotError as error:
        fail(str(error), EX_TEMPFAIL if error.is_unknown else EX_USAGE)


def get_config_path() -> Path:
    """Return the path of the verb's configuration file."""
    return Path(click.get_current_context().meta[CONFIG_PATH_KEY])


def get_operator() -> str:
    """Return the name of the user behind an order, also behind sudo."""
    if name := os.environ.get("SUDO_USER"):
        return name
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"uid {os.getuid()}"


def open_audit(config: Config) -> Audit:
    """Open the audit log for writing; it is closed at the end of the verb."""
    with contextlib.suppress(OSError):  # the state store reports a folder that cannot be created
        Path(config.state).mkdir(parents=True, exist_ok=True, mode=0o755)
    audit = Audit(get_audit_path(config), config.notify, config.host, Path(config.state))
    return click.get_current_context().with_resource(audit)


def get_audit_path(config: Config) -> Path:
    """Return the path of the audit log."""
    return Path(config.audit) if config.audit else Path(config.state) / "audit.jsonl"
