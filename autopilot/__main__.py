"""Start `autopilot`. The verb `run` loads no command line library: the first job would wait for it."""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn


def main() -> None:
    """Run the verb that the arguments name."""
    prepare_process()
    arguments = sys.argv[1:]
    if arguments[:1] == ["run"] and len(arguments) <= 2 and not any(a.startswith("-") for a in arguments[1:]):
        run_supervisor(arguments[1] if len(arguments) == 2 else None)
    from autopilot.cli.main import main as run_verb

    run_verb(prog_name="autopilot")


def run_supervisor(config: str | None, *, containerpilot: bool = False) -> NoReturn:
    """Run the supervisor, and exit with its code.

    Args:
        config: Path of the job spec; None for the default one.
        containerpilot: Use ContainerPilot's defaults.
    """
    from autopilot.app.boot import run

    code = run(config, containerpilot=containerpilot)
    # a supervisor has nothing left to clean up, and an interpreter's own end takes as long as its start
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    os._exit(code)


def prepare_process() -> None:
    """Make this process independent of its caller: see the three functions."""
    _restore_initial_environment()
    _ensure_utf8_mode()
    _write_any_text()


def _ensure_utf8_mode() -> None:
    """Start this program again, in the same process, where the locale's encoding is not UTF-8.

    Files and variables are bytes, and a job spec is UTF-8. Python would hand its text to programs in the locale's
    encoding, or could not hand it on at all. In UTF-8 mode all bytes stay as they are; LC_ALL and the like too.
    """
    if sys.getfilesystemencoding() == "utf-8" or sys.flags.utf8_mode or not sys.executable:
        return
    try:  # noqa: SIM105 - contextlib would have to be loaded first
        os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])
    except OSError:
        pass  # plain ASCII still works


def _write_any_text() -> None:
    """Write UTF-8, and escapes for what is no text, whatever PYTHONIOENCODING says: names may hold any character."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a caller of `main` may have replaced it
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")


def _restore_initial_environment() -> None:
    """Undo changes that our caller and Python have made to this process.

    A caller may have closed the standard descriptors; our first file would then be taken for our output. Python may
    have set LC_CTYPE, and our jobs would inherit it.
    """
    for fd in range(3):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    if "LC_CTYPE" in os.environ:
        try:
            with open("/proc/self/environ", "rb") as file:
                initial = file.read()
        except OSError:
            return
        if not any(variable.startswith(b"LC_CTYPE=") for variable in initial.split(b"\0")):
            del os.environ["LC_CTYPE"]


if __name__ == "__main__":
    main()
