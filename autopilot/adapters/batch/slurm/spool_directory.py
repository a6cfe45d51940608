"""Find the directory in which slurmd keeps the sockets of its steps: a new step appears there at once."""

from __future__ import annotations

import re
from pathlib import Path

from autopilot.safe_files import read_file

DEFAULT_SPOOL_DIRECTORY = "/var/spool/slurmd"
CONFIG_PATHS = ("/run/slurm/conf/slurm.conf", "/etc/slurm/slurm.conf", "/etc/slurm-llnl/slurm.conf")
MAX_CONFIG_BYTES = 1 << 20
_SPOOL_SETTING = re.compile(r"(?im)^\s*SlurmdSpoolDir\s*=\s*([^\s#]+)")


def parse_spool_directory(config: str, node: str, host: str) -> str:
    """Return SlurmdSpoolDir of a slurm.conf, with %n and %h replaced; Slurm's default when it is not set. Pure."""
    found = _SPOOL_SETTING.search(config)
    path = found[1] if found else DEFAULT_SPOOL_DIRECTORY
    return path.replace("%n", node).replace("%h", host.partition(".")[0])


def find_config(env_config: str | None) -> str | None:
    """Return the text of the slurm.conf that is used here; None while there is none.

    Args:
        env_config: The path in SLURM_CONF, if it is set.
    """
    for path in (env_config,) if env_config else CONFIG_PATHS:
        try:
            return read_file(path, MAX_CONFIG_BYTES, follow_link=True).decode(errors="replace")
        except OSError:
            continue
    return None


def find_spool_directory(env_config: str | None, node: str, host: str) -> Path:
    """Return slurmd's spool directory by the slurm.conf that is used here."""
    return Path(parse_spool_directory(find_config(env_config) or "", node, host))
