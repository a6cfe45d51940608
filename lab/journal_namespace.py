"""Run a command with a real journald of its own, in a namespace: the machine's journal is not used."""

from __future__ import annotations

import subprocess
from pathlib import Path

from lab import system_packages
from lab.lab_errors import LabError

JOURNALD = Path("/lib/systemd/systemd-journald")
TIMEOUT_S = 120
SCRIPT = """
mount -t tmpfs tmpfs /run
mkdir -p /run/systemd/journal /run/log/journal
{journald} >/run/journald.log 2>&1 &
daemon=$!
until [ -S /run/systemd/journal/stdout ]; do
    kill -0 $daemon || {{ cat /run/journald.log >&2; exit 70; }}
    sleep 0.1
done
{command}
"""


def require_journald() -> None:
    """Raise LabError unless journald is installed or can be."""
    system_packages.ensure_programs("systemd-cat", "unshare")
    if not JOURNALD.exists():
        raise LabError(f"this machine has no {JOURNALD} (apt-get install systemd)")


def run_with_journal(command: str) -> str:
    """Run a shell command and return its output.

    Args:
        command: `systemd-cat` and `journalctl` in it use the new journal.

    Raises:
        LabError: the command or journald failed.
    """
    words = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c"]
    script = SCRIPT.format(journald=JOURNALD, command=command)
    done = subprocess.run([*words, script], capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    if done.returncode != 0:
        raise LabError(f"cannot run a command with journald: {done.stdout[-2000:]} {done.stderr[-2000:]}")
    return done.stdout
