"""Run a real Alertmanager that posts each alert, when it fires and when it is resolved, to a web hook."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lab.cache import create_run_folder
from lab.debs import DebianPackage, get_unpacked_package

ALERTMANAGER = DebianPackage(
    "prometheus-alertmanager",
    "0.25.0-1+b4",
    "bookworm",
    "4fb9aed15cfe8e0c32408e643ab32a1e41ee87d2cc26f18aeba928b1b0b98ae7",
)


# Debian's program reads its templates below /usr/share and nowhere else: they are put there in a namespace of its own
RUN_WITH_SHARE = 'mount -t overlay overlay -o "lowerdir=$0/usr/share:/usr/share" /usr/share && exec "$@"'


def get_tree() -> Path:
    """Return the folder that the package is unpacked in.

    Raises:
        LabError: the package cannot be fetched.
    """
    return get_unpacked_package(ALERTMANAGER)


def format_config(webhook_url: str) -> str:
    """Return a configuration (YAML) that sends every alert by itself, at once."""
    return f"""
route: {{receiver: hook, group_by: [...], group_wait: 0s, group_interval: 1s, repeat_interval: 1h}}
receivers: [{{name: hook, webhook_configs: [{{url: "{webhook_url}", send_resolved: true}}]}}]
"""


@contextmanager
def start_alertmanager(webhook_url: str, address: str) -> Iterator[None]:
    """Run Alertmanager, and kill it at the end.

    Args:
        webhook_url: receives the notifications.
        address: listen address (host:port).
    """
    with create_run_folder() as folder:
        file = folder / "alertmanager.yml"
        file.write_text(format_config(webhook_url))
        tree = get_tree()
        command = [
            *("unshare", "--mount", "sh", "-c", RUN_WITH_SHARE, str(tree)),
            f"{tree}/usr/bin/prometheus-alertmanager",
            f"--config.file={file}",
            f"--storage.path={folder}/data",
            f"--web.listen-address={address}",
            "--cluster.listen-address=",  # no cluster
        ]
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder)
        try:
            yield
        finally:
            process.kill()
            process.wait()
