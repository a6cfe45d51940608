"""Run a real rsyslog or syslog-ng from a tree of its own: the two Debian packages exclude each other."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lab.cache import compute_cache_key, create_run_folder, get_or_build
from lab.debian_trees import SUITE, extract_packages

PACKAGES: Mapping[str, tuple[str, ...]] = {
    "rsyslog": ("rsyslog", "rsyslog-elasticsearch", "rsyslog-gnutls"),
    "syslog-ng": ("syslog-ng-core",),
}


def build_tree(server: str) -> Path:
    """Return the unpacked packages of the server; fetch them the first time."""
    packages = PACKAGES[server]
    return get_or_build(f"{server}-{compute_cache_key(SUITE, packages)}", lambda part: extract_packages(part, packages))


VERSION_LINE = "@version: current\n"


@dataclass(frozen=True)
class Ports:
    """Ports of 127.0.0.1 that a server listens on."""

    tcp: int
    udp: int
    tls: int


def format_rsyslog_config(ports: Ports, output: Path, certificate: Path, key: Path) -> str:
    """Return a configuration that writes application, level, message id, structured data and message of each line."""
    return f"""
        global(DefaultNetstreamDriverCAFile="{certificate}" DefaultNetstreamDriverCertFile="{certificate}"
               DefaultNetstreamDriverKeyFile="{key}")
        module(load="imudp")
        input(type="imudp" address="127.0.0.1" port="{ports.udp}")
        module(load="imtcp")
        input(type="imtcp" address="127.0.0.1" port="{ports.tcp}")
        input(type="imtcp" address="127.0.0.1" port="{ports.tls}" streamDriver.Name="gtls" streamDriver.Mode="1"
              streamDriver.AuthMode="anon")
        template(name="parts" type="string"
                 string="%app-name%|%syslogfacility-text%|%syslogseverity-text%|%msgid%|%structured-data%|%msg%\\n")
        action(type="omfile" file="{output}" template="parts")
    """


def format_syslog_ng_config(ports: Ports, output: Path, certificate: Path, key: Path) -> str:
    """Return a configuration that writes the same parts, without the line of the version."""
    return f"""
        source s {{
            syslog(ip("127.0.0.1") transport("udp") port({ports.udp}));
            syslog(ip("127.0.0.1") transport("tcp") port({ports.tcp}));
            syslog(ip("127.0.0.1") transport("tls") port({ports.tls})
                   tls(key-file("{key}") cert-file("{certificate}") peer-verify(optional-untrusted)));
        }};
        destination d {{ file("{output}" template("$PROGRAM|$FACILITY|$LEVEL|$MSGID|$SDATA|$MSG\\n")); }};
        log {{ source(s); destination(d); }};
    """


@contextmanager
def start_syslog_server(server: str, ports: Ports, certificate: Path, key: Path) -> Iterator[Path]:
    """Run a server, and kill it at the end.

    Args:
        server: `rsyslog` or `syslog-ng`.
        ports: The ports to listen on.
        certificate: Its certificate for TLS.
        key: The certificate's key.

    Yields:
        The file that it writes: one line for each message, its parts separated by `|`.
    """
    with create_run_folder() as folder:
        output = folder / "received"
        form = format_rsyslog_config if server == "rsyslog" else format_syslog_ng_config
        with start_configured_server(server, form(ports, output, certificate, key)):
            yield output


@contextmanager
def start_configured_server(server: str, config_text: str) -> Iterator[None]:
    """Run a server with a configuration, and kill it at the end.

    Args:
        server: `rsyslog` or `syslog-ng`.
        config_text: The configuration; for syslog-ng without the line of the version.
    """
    tree = build_tree(server)
    system_libraries = tree / f"usr/lib/{platform.machine()}-linux-gnu"
    loader = next(system_libraries.glob("ld-linux-*.so.*"))
    libraries = f"{system_libraries}:{tree}/usr/lib/syslog-ng"  # the second has the library of syslog-ng's modules
    with create_run_folder() as folder:
        config = folder / "conf"
        config.write_text(config_text if server == "rsyslog" else VERSION_LINE + config_text)
        if server == "rsyslog":
            words: list[str | Path] = [
                tree / "usr/sbin/rsyslogd",
                "-n",
                "-f",
                config,
                "-i",
                folder / "pid",
                "-M",
                system_libraries / "rsyslog",
            ]
        else:
            modules = next(path for path in tree.glob("usr/lib/syslog-ng/*") if path.is_dir())
            words = [
                *(tree / "usr/sbin/syslog-ng", "--foreground", "--no-caps", f"--cfgfile={config}"),
                *(f"--persist-file={folder}/persist", f"--pidfile={folder}/pid", f"--control={folder}/control"),
                f"--module-path={modules}",
            ]
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                [loader, "--library-path", libraries, *words], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        try:
            yield
        finally:
            process.kill()
            process.wait()
