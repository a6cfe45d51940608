"""Start one process: own session, signals restored, user with its groups, privileges, limits, cwd, environment.

One `fork` and then plain system calls. `subprocess` would do most of it, but not limits and the signal mask without
`preexec_fn`, and it waits for the exec. Here nothing waits: a failure between fork and exec comes through a
close-on-exec pipe, read when the child is reaped. Imports are few on purpose: the first job of a container starts
before anything heavy is loaded.
"""

from __future__ import annotations

import errno
import os
import resource
from itertools import count

from autopilot.errors import AutopilotError
from autopilot.process.exit_status import NOT_EXECUTABLE, NOT_FOUND
from autopilot.process.job_processes import FIRST_MARK, RLIMIT_LOCKS
from autopilot.process.kernel_calls import PR_SET_PDEATHSIG, load_prctl
from autopilot.process.user_identity import Identity, resolve

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Callable, Iterable, Mapping

    from autopilot.process.job_cgroups import JobCgroup
    from autopilot.process.privileges import Restrictions
    from autopilot.spec.plan import Command
else:
    import _signal as signal  # `signal` without its enums, which take 4 ms to load


class SpawnedProcess:
    """A process that was forked.

    Attributes:
        pid: The leader's pid.
        mark: The mark of the leader and its descendants (`job_processes`).
        stdout_fd: Our end of its output.
        stderr_fd: Our end of its error output.
        problem_fd: Our end of the pipe for the reason of a failed start (`read_problem`).
        cgroup: Its own cgroup; None where it has none.
        environment: The environment that it was given.
    """

    __slots__ = ("cgroup", "environment", "mark", "pid", "problem_fd", "stderr_fd", "stdout_fd")

    def __init__(self, pid: int, mark: int, stdout_fd: int, stderr_fd: int, problem_fd: int) -> None:
        self.cgroup: JobCgroup | None = None
        self.environment: Mapping[str, str] = {}
        self.pid, self.mark, self.stdout_fd, self.stderr_fd, self.problem_fd = (
            pid,
            mark,
            stdout_fd,
            stderr_fd,
            problem_fd,
        )


MAX_DESCRIPTOR = 1 << 20
USER_NAME_VARIABLES = ("USER", "LOGNAME", "USERNAME", "MAIL")  # ours are wrong for a process of another user
MARKS = count(FIRST_MARK)
SECRET_VARIABLES = (  # for the supervisor itself, and for Consul's command line as an admin
    *("CONSUL_HTTP_TOKEN", "CONSUL_HTTP_TOKEN_FILE", "CONSUL_HTTP_AUTH", "CONSUL_CLIENT_KEY"),
)
ALL_SIGNALS = signal.valid_signals()


class SpawnError(AutopilotError):
    """A process could not be forked, or its user, group or files do not exist.

    Attributes:
        problem: The reason in one sentence.
        status: The exit status that stands for it.
    """

    def __init__(self, problem: str, status: int = NOT_EXECUTABLE) -> None:
        super().__init__(problem)
        self.problem = problem
        self.status = status


def spawn(
    command: Command,
    environ: Mapping[str, str],
    *,
    own_pid_variables: Iterable[str] = (),
    withheld_variables: Iterable[str] = SECRET_VARIABLES,
    no_new_privs: bool = True,
    with_cgroup: bool = False,
) -> SpawnedProcess:
    """Start a process.

    Args:
        command: The command, with its user, directory, limits and variables.
        environ: Environment variables, laid under the command's own.
        own_pid_variables: Variables that get the child's pid.
        withheld_variables: Variables of `environ` that only processes of our own user get.
        no_new_privs: The default of that setting for a command with a user other than root.
        with_cgroup: Give it a cgroup of its own if it runs as a user other than root, and cgroups can be written.

    Raises:
        SpawnError: It cannot be forked. A failing exec is not raised: the child ends with 126 or 127, and
            `read_problem` returns the reason.
    """
    try:
        identity = resolve(command.user, command.group)
        environment = _build_environment(command, environ, identity, withheld_variables)
    except OSError as problem:
        raise SpawnError(f"cannot read {command.env_file}: {problem.strerror}") from None
    except (LookupError, ValueError) as problem:
        raise SpawnError(str(problem)) from None
    fds = _open_three_pipes()
    out_r, out_w, err_r, err_w, problem_r, problem_w = fds
    # blocked from before the fork until after the exec's preparations: a signal meant for us must not run our handlers
    # in the child, whose wake-up descriptor is ours
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, ALL_SIGNALS)
    # a supervisor that is no PID 1 may be killed alone; its jobs should not outlive it
    # (for PID 1 it is of no use, and harmless)
    call_prctl = None if os.getpid() == 1 else load_prctl()
    restrictions = _plan_restrictions(command, identity, no_new_privs)
    mark = next(MARKS)
    cgroup = None
    if with_cgroup and restrictions is not None and restrictions.is_for_another_user:
        from autopilot.process.job_cgroups import create_job_cgroup  # loaded only when used

        cgroup = create_job_cgroup(mark - FIRST_MARK)
    try:
        pid = os.fork()
        if pid == 0:
            _run_child(
                command,
                environment,
                identity,
                out_w,
                err_w,
                problem_w,
                own_pid_variables,
                call_prctl,
                restrictions,
                mark,
                cgroup,
            )
    except OSError as problem:
        _close_all(fds)
        if cgroup is not None:
            cgroup.remove()
        raise SpawnError(f"cannot fork: {problem.strerror}") from None
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    _close_all([out_w, err_w, problem_w])
    for fd in (out_r, err_r, problem_r):
        os.set_blocking(fd, False)
    spawned = SpawnedProcess(pid, mark, out_r, err_r, problem_r)
    spawned.cgroup, spawned.environment = cgroup, environment
    return spawned


def _plan_restrictions(command: Command, identity: Identity | None, no_new_privs_default: bool) -> Restrictions | None:
    """Return the restrictions of a process; None for one that keeps all that we have."""
    uid = os.geteuid()
    target = uid if identity is None else identity.uid
    no_new_privs = command.no_new_privs
    if no_new_privs is None:
        no_new_privs = no_new_privs_default and command.user is not None and target != 0
    if not no_new_privs and target == uid and command.capabilities is None and not command.secure_bits:
        return None
    from autopilot.process.privileges import Restrictions  # loaded only when used

    return Restrictions(
        command.capabilities,
        command.secure_bits,
        no_new_privs=no_new_privs,
        changes_user=target != uid,
        is_root=target == 0,
    )


def _open_three_pipes() -> list[int]:
    """Return the ends of three pipes, reading before writing."""
    fds: list[int] = []
    try:
        for _ in range(3):
            fds.extend(os.pipe2(os.O_CLOEXEC))
    except OSError as problem:
        _close_all(fds)
        raise SpawnError(f"cannot make a pipe: {problem.strerror}") from None
    return fds


def _close_all(fds: list[int]) -> None:
    for fd in fds:
        os.close(fd)


def read_problem(problem_fd: int) -> str | None:
    """Return the reason why a reaped child never became its program, None when it did; close the descriptor."""
    text = os.read(problem_fd, 4096)
    os.close(problem_fd)
    return text.decode(errors="replace") or None


def _build_environment(
    command: Command, environ: Mapping[str, str], identity: Identity | None, withheld_variables: Iterable[str]
) -> dict[str, str]:
    merged = dict(environ)
    if identity is not None and identity.uid != os.geteuid():
        for name in withheld_variables:
            merged.pop(name, None)
    if identity is not None and command.user is not None:
        for variable in USER_NAME_VARIABLES:
            merged.pop(variable, None)
        merged["HOME"] = identity.home or "/"
        if identity.name is not None:
            merged.update(USER=identity.name, LOGNAME=identity.name)
    if command.env_file is not None:
        from autopilot.spec.env_file import read_env_file  # loaded only when used

        merged.update(read_env_file(command.env_file))
    merged.update(command.env)
    return merged


def _run_child(  # noqa: PLR0912, PLR0917 - all that one fork needs, handed over once
    command: Command,
    environment: dict[str, str],
    identity: Identity | None,
    stdout_fd: int,
    stderr_fd: int,
    problem_fd: int,
    own_pid_variables: Iterable[str],
    call_prctl: Callable[[int, int], int] | None,
    restrictions: Restrictions | None,
    mark: int,
    cgroup: JobCgroup | None,
) -> None:
    """Become the program, in the child; never returns."""
    status, doing = NOT_EXECUTABLE, "cannot start"
    try:
        os.setsid()
        null = os.open(os.devnull, os.O_RDONLY)
        for fd, target in ((null, 0), (stdout_fd, 1), (stderr_fd, 2)):
            os.dup2(fd, target)
        os.closerange(3, problem_fd)  # descriptors that we were started with are not for the job
        os.closerange(problem_fd + 1, MAX_DESCRIPTOR)
        doing = "cannot mark the process"
        resource.setrlimit(RLIMIT_LOCKS, (mark, resource.getrlimit(RLIMIT_LOCKS)[1]))
        if cgroup is not None:
            doing = "cannot join its cgroup"
            cgroup.join()
        for name, value in command.limits.items():
            doing = f"cannot set limit {name}={value}"
            number = getattr(resource, "RLIMIT_" + name.upper())
            resource.setrlimit(number, (value, value))
        if restrictions is not None:
            doing = "cannot restrict its privileges"
            restrictions.apply_as_supervisor()
        if identity is not None:
            doing = f"cannot become user {command.user or identity.uid}, group {identity.gid}"
            set_identity(identity)
        if restrictions is not None:
            doing = "cannot restrict its privileges"
            restrictions.apply_as_user()
        if call_prctl is not None:
            call_prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if command.umask is not None:
            os.umask(command.umask)
        if command.cwd is not None:
            doing = f"cannot use directory {command.cwd}"
            os.chdir(command.cwd)
        for variable in own_pid_variables:
            environment[variable] = str(os.getpid())
        doing = f"cannot execute {command.argv[0]!r}"
        _restore_signals()
        _execute(command.argv, environment)
    except BaseException as error:  # any failure must reach the parent, and the child must not run on as us
        if isinstance(error, FileNotFoundError) and doing.startswith("cannot execute"):
            status, reason = NOT_FOUND, _explain_not_found(command.argv[0])
        else:
            reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        os.write(problem_fd, f"{doing}: {reason}"[:4000].encode(errors="replace"))
    finally:
        os._exit(status)


def _execute(argv: tuple[str, ...], environment: dict[str, str]) -> None:
    """Do as execvpe(3), by the child's own PATH; os.execvpe would import `warnings` between fork and exec."""
    name = argv[0]
    if "/" in name:
        os.execve(name, argv, environment)
    denied: OSError | None = None
    for directory in environment.get("PATH", os.defpath).split(":"):
        try:
            os.execve(os.path.join(directory, name), argv, environment)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:  # another directory may have one that can be executed
            denied = error
    raise denied or FileNotFoundError(name)


def _explain_not_found(name: str) -> str:
    return "no such file, or its interpreter is missing" if "/" in name else "not found in PATH"


def set_identity(identity: Identity) -> None:
    """Take a user and its groups for the rest of this process, in a child. Raises OSError when that is not allowed."""
    if os.geteuid() == 0:
        for output in (1, 2):  # else a program could not open its own /dev/stdout
            os.fchown(output, identity.uid, identity.gid)
    try:
        os.setgroups(identity.groups)
    except PermissionError:
        surplus = set(os.getgroups()) - {*identity.groups, identity.gid}
        if surplus:  # a process must not keep our groups beside its own
            reason = f"the supervisor may not give up its groups {sorted(surplus)} without CAP_SETGID"
            raise PermissionError(errno.EPERM, reason) from None
    os.setgid(identity.gid)
    os.setuid(identity.uid)


def _restore_signals() -> None:
    """Restore default signal handling and an empty mask: Python ignores SIGPIPE and SIGXFSZ, and we handle others."""
    for number in ALL_SIGNALS:
        if number not in (signal.SIGKILL, signal.SIGSTOP):
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
