"""Find the directory in which slurmd keeps the sockets of its steps: a new step appears there at once.

slurm.conf often lies on a network file system. A child process reads it, because a mount that hangs would stop the
supervisor for as long as it hangs.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

DEFAULT_SPOOL_DIRECTORY = "/var/spool/slurmd"
FETCHED_CONFIG_PATH = "/run/slurm/conf/slurm.conf"  # of a slurmd that has asked slurmctld for it
CONFIG_PATHS = (FETCHED_CONFIG_PATH, "/etc/slurm/slurm.conf", "/etc/slurm-llnl/slurm.conf")
LOOKUP_TIMEOUT_S = 10.0
NO_CONFIG_STATUS = 3
_SPOOL_SETTING = re.compile(r"(?im)^\s*SlurmdSpoolDir\s*=\s*([^\s#]+)")
_LOOKUP_SCRIPT = f"""\
for path; do
  if [ -f "$path" ] && [ -r "$path" ]; then
    grep -i '^[[:space:]]*SlurmdSpoolDir[[:space:]]*=' "$path"
    exit 0
  fi
done
exit {NO_CONFIG_STATUS}
"""


def list_config_paths(env_config: str | None, controller: str | None) -> tuple[str, ...]:
    """Return the places of the slurm.conf that is used here, the first one that exists counts.

    Args:
        env_config: The path in SLURM_CONF, if it is set.
        controller: The host that slurmd asks for slurm.conf, if there is one.
    """
    if controller is not None:
        return (FETCHED_CONFIG_PATH,)
    return (env_config,) if env_config else CONFIG_PATHS


def build_lookup_command(paths: Sequence[str]) -> tuple[str, ...]:
    """Return the command that prints the lines about the directory; it ends with NO_CONFIG_STATUS without a file."""
    return ("sh", "-c", _LOOKUP_SCRIPT, "lookup", *paths)


def parse_spool_directory(config: str, node: str, host: str) -> Path:
    """Return SlurmdSpoolDir of a slurm.conf, with %n and %h replaced; Slurm's default when it is not set. Pure."""
    found = _SPOOL_SETTING.search(config)
    path = found[1] if found else DEFAULT_SPOOL_DIRECTORY
    return Path(path.replace("%n", node).replace("%h", host.partition(".")[0]))
