"""Run the program `containerpilot`: its command line on our supervisor, for a site that swaps the binary.

Without a flag that asks for something else it runs the supervisor with ContainerPilot's defaults: the control socket at
/var/run/containerpilot.socket, ContainerPilot's log formats, and an optional state directory. It starts as fast as
`autopilot run`: each other flag loads its own modules.
"""

from __future__ import annotations

import os
import sys

from autopilot import __version__
from autopilot.__main__ import prepare_process, run_supervisor
from autopilot.containerpilot.go_flags import FlagError, HelpRequestedError, parse_flags

SWITCH_FLAGS = ("version", "template", "reload", "ping")
VALUE_FLAGS = ("config", "out", "maintenance", "putenv", "putmetric")
USAGE = """\
Usage of containerpilot:
  -config string
    \tPath of the configuration file (default: $CONTAINERPILOT).
  -maintenance string
    \tSwitch the maintenance of a running supervisor: 'enable' or 'disable'.
  -out string
    \tPath that -template writes to (default: '-', stdout).
  -ping
    \tCheck that the supervisor answers on its control socket.
  -putenv value
    \tSet an environment variable, 'key=value', of processes that start from now on;
    \t'key=' unsets it. May be given several times.
  -putmetric value
    \tSet a metric, 'key=value'. May be given several times.
  -reload
    \tLet the supervisor read its configuration again.
  -template
    \tPrint the configuration with its template rendered, and quit.
  -version
    \tPrint the version and quit.
"""


def main() -> None:
    """Carry out the flags that the arguments name, or run the supervisor."""
    prepare_process()
    try:
        flags, rest = parse_flags(sys.argv[1:], switches=SWITCH_FLAGS, values=VALUE_FLAGS)
    except HelpRequestedError:
        sys.stderr.write(USAGE)
        sys.exit(0)
    except FlagError as error:
        sys.stderr.write(f"{error}\n{USAGE}")
        sys.exit(os.EX_USAGE)
    config = flags.get("config", [""])[-1] or None
    requested = {
        name for name, given in flags.items() if name not in ("config", "out") and _is_requested(name, given[-1])
    }
    if "version" in requested:
        print(f"Version: {__version__}\nProgram: autopilot")
    elif "template" in requested:
        _write_rendered_config(config, flags.get("out", ["-"])[-1])
    elif requested:
        from autopilot.cli.control_client import ControlError
        from autopilot.containerpilot.control_flags import send_requests

        try:
            send_requests(flags, requested, config)
        except ControlError as error:
            sys.exit(_print_failure(str(error), error.exit_code))
    else:
        if rest:
            print(f"containerpilot: not flags, and not used: {' '.join(rest)}", file=sys.stderr)
        run_supervisor(config, containerpilot=True)


def _is_requested(name: str, value: str) -> bool:
    """Return True for a switch that is not turned off again, and for a value that is not empty, as Go does."""
    return value == "true" if name in SWITCH_FLAGS else bool(value)


def _write_rendered_config(config: str | None, out: str) -> None:
    from autopilot.app.paths import NoConfigError, find_default_config
    from autopilot.spec import SpecError, render

    try:
        text = render(config or find_default_config(os.environ, containerpilot=True))
    except (SpecError, NoConfigError) as error:
        sys.exit(_print_failure(str(error), os.EX_CONFIG))
    data = text.encode(errors="surrogateescape")
    try:
        if out in ("", "-"):
            sys.stdout.buffer.write(data)
            sys.stdout.flush()
        else:
            _write_file(out, data)
    except OSError as error:
        sys.exit(_print_failure(f"cannot write {out or 'stdout'}: {error.strerror}", os.EX_CANTCREAT))


def _write_file(path: str, data: bytes) -> None:
    """Replace a file whole or not at all; write into a pipe, a device or a mounted file, which cannot be replaced.

    Raises:
        OSError: The file cannot be written.
    """
    import stat

    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        umask = os.umask(0o022)
        os.umask(umask)
        mode = stat.S_IFREG | 0o644 & ~umask
    if not stat.S_ISREG(mode) or _is_mounted(path):
        with open(path, "wb") as file:
            file.write(data)
        return
    path = os.path.realpath(path)
    temporary = f"{path}.{os.getpid()}.tmp"
    try:
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
            file.write(data)
            os.fchmod(file.fileno(), stat.S_IMODE(mode))
        os.replace(temporary, path)
    except OSError:
        if os.path.exists(temporary):
            os.unlink(temporary)
        raise


def _is_mounted(path: str) -> bool:
    """Return True for a file that a container engine mounted; os.path.ismount knows directories only."""
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as mounts:
        return any(line.split()[4] == os.path.realpath(path) for line in mounts)


def _print_failure(message: str, exit_code: int) -> int:
    print(f"containerpilot: {message}", file=sys.stderr)
    return exit_code


if __name__ == "__main__":
    main()
