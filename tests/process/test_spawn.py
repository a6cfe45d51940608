"""One process, started for real: what it gets and what is said when it cannot start."""

from __future__ import annotations

import os
import resource
import select
import signal
import subprocess
import sys

import pytest

from autopilot.process import exit_status, privileges
from autopilot.process.job_processes import list_children
from autopilot.process.spawn import SECRET_VARIABLES, SpawnError, read_problem, spawn
from autopilot.spec.env_file import read_env_file
from autopilot.spec.plan import Command

HERE = {"PATH": os.environ["PATH"]}


def run(*argv, environ=HERE, **fields):
    """(status, stdout, why it could not start) of a command."""
    own_pid_in = fields.pop("own_pid_in", ())
    withheld = fields.pop("withheld", ())
    child = spawn(Command(argv=argv, **fields), environ, own_pid_variables=own_pid_in, withheld_variables=withheld)
    select.select([os.pidfd_open(child.pid)], [], [], 20)
    _, wait_status = os.waitpid(child.pid, 0)
    output = os.read(child.stdout_fd, 65536).decode()
    os.close(child.stdout_fd)
    os.close(child.stderr_fd)
    return exit_status.decode_wait_status(wait_status), output, read_problem(child.problem_fd)


def test_own_session_and_no_input():
    """A process leads its own session and group, and its input is empty."""
    code, output, why = run(
        "sh", "-c", 'cat; test "$(ps -o sid= -p $$)" -eq $$ && test "$(ps -o pgid= -p $$)" -eq $$ && echo yes'
    )
    assert (code, output, why) == (0, "yes\n", None)


def test_signals_are_restored():
    """Nothing is ignored or blocked in the child, although we ignore SIGPIPE and may block others."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
    try:
        _, output, _ = run("grep", "-E", "^Sig(Ign|Blk)", "/proc/self/status")
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    glibcs_own = 0b11 << 31  # signals 32 and 33, which no program can unblock; make's children inherit them blocked
    assert [int(line.split()[1], 16) & ~glibcs_own for line in output.splitlines()] == [0, 0]


def test_no_descriptor_leaks():
    """A child has its three descriptors and no other of ours."""
    _, output, _ = run("ls", "/proc/self/fd")
    assert output.split() == ["0", "1", "2", "3"]  # 3: the folder that ls reads


def test_own_pid_in_a_variable():
    """A variable named for it holds the child's own pid (sd_notify's WATCHDOG_PID)."""
    code, _, _ = run("sh", "-c", 'test "$WATCHDOG_PID" = $$', own_pid_in=("WATCHDOG_PID",))
    assert code == 0


def test_path_of_the_child():
    """The program is looked for in the child's own PATH, past what may not be executed."""
    code, output, _ = run("env", environ={}, env={"PATH": "/nonexistent:/etc:/usr/bin:/bin"})
    assert code == 0
    assert "PATH=/nonexistent" in output


@pytest.mark.parametrize(
    ("fields", "why", "code"),
    [
        ({"argv": ("nothing-of-that-name",)}, "cannot execute 'nothing-of-that-name': not found in PATH", 127),
        ({"argv": ("/nowhere/x",)}, "cannot execute '/nowhere/x': no such file", 127),
        ({"argv": ("/",)}, "cannot execute '/': Permission denied", 126),
        ({"argv": ("true",), "cwd": "/nowhere"}, "cannot use directory /nowhere: No such file", 126),
        ({"argv": ("true",), "limits": {"nofile": 1 << 40}}, "cannot set limit nofile=1099511627776", 126),
    ],
)
def test_failed_start(fields, why, code):
    """What goes wrong between fork and exec is said in one sentence, with the shell's status."""
    fields = dict(fields)
    argv = fields.pop("argv")
    got, _, said = run(*argv, **fields)
    assert got == code
    assert said.startswith(why)


def test_script_without_interpreter_line(tmp_path):
    """A script that the kernel cannot execute is 126, not a traceback."""
    script = tmp_path / "script"
    script.write_text("no interpreter here\n")
    script.chmod(0o755)
    code, _, why = run(str(script))
    assert code == 126
    assert "Exec format error" in why


@pytest.mark.parametrize("fields", [{"user": "no-such-user"}, {"group": "no-such-group"}, {"env_file": "/nowhere"}])
def test_wrong_name_is_told_before_the_fork(fields):
    """An unknown user, group or env file is an error of the start, no child is made."""
    before = list_children(os.getpid())  # of other tests of this process
    with pytest.raises(SpawnError):
        spawn(Command(argv=("true",), **fields), HERE)
    assert set(list_children(os.getpid())) <= set(before)


@pytest.mark.real("root")
def test_numeric_user():
    """A numeric user needs no entry in the password database."""
    code, output, _ = run("id", "-u", user="54321")
    assert (code, output) == (0, "54321\n")


@pytest.mark.real("root")
@pytest.mark.parametrize(
    ("user", "expected"),
    [
        ("54321", {"HOME": "/"}),
        ("0", {"HOME": "/root", "USER": "root", "LOGNAME": "root"}),
        ("root", {"HOME": "/root", "USER": "root", "LOGNAME": "root"}),
        (None, {"HOME": "/home/old", "USER": "old", "LOGNAME": "old", "USERNAME": "old", "MAIL": "/var/mail/old"}),
    ],
)
def test_variables_of_the_user(user, expected):
    """A process of another user has that user's home and name, or `/` and no name, and never the supervisor's."""
    inherited = {"HOME": "/home/old", "USER": "old", "LOGNAME": "old", "USERNAME": "old", "MAIL": "/var/mail/old"}
    _, output, _ = run("/usr/bin/env", environ=inherited, user=user)
    assert dict(line.split("=", 1) for line in output.splitlines()) == expected


@pytest.mark.real("root")
def test_variables_of_the_job_override_the_users():
    """HOME and USER that the job spec gives win over those of the user."""
    _, output, _ = run("/usr/bin/env", environ={}, user="54321", env={"HOME": "/data", "USER": "me"})
    assert sorted(output.splitlines()) == ["HOME=/data", "USER=me"]


@pytest.mark.real("root")
@pytest.mark.parametrize(
    ("fields", "withheld", "shown"),
    [
        ({}, SECRET_VARIABLES, "s3cret"),
        ({"user": "12345"}, SECRET_VARIABLES, ""),
        ({"user": "12345", "env": {"CONSUL_HTTP_TOKEN": "asked"}}, SECRET_VARIABLES, "asked"),
        ({"user": "0"}, SECRET_VARIABLES, "s3cret"),
        ({"user": "12345"}, (), "s3cret"),
    ],
)
def test_secrets_are_for_our_own_user(fields, withheld, shown):
    """A process of another user inherits no token of the supervisor, unless its command names it."""
    code, output, _ = run(
        "sh",
        "-c",
        'echo "$CONSUL_HTTP_TOKEN"',
        environ={**HERE, "CONSUL_HTTP_TOKEN": "s3cret"},
        withheld=withheld,
        **fields,
    )
    assert (code, output) == (0, f"{shown}\n")


def test_limits():
    """A limit is set as asked."""
    soft = min(100, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    _, output, _ = run("sh", "-c", "ulimit -n", limits={"nofile": soft})
    assert int(output) == soft


@pytest.mark.parametrize("name", ["none", "."])
def test_env_file_that_cannot_be_read(tmp_path, name):
    """The reason of a failed start names the file of variables that is missing, or is a directory."""
    command = Command(argv=("true",), env_file=str(tmp_path / name))
    with pytest.raises(SpawnError, match=rf"^cannot read {tmp_path / name}: [A-Z][a-z ]+$"):
        spawn(command, {})


def test_env_file(tmp_path):
    """An env file holds assignments and comments; anything else is refused with its line."""
    file = tmp_path / "env"
    file.write_text("# comment\n\nA=1\nB = two words \nC=x=y\n")
    assert read_env_file(str(file)) == {"A": "1", "B": " two words ", "C": "x=y"}
    file.write_text("A=1\nnonsense\n")
    with pytest.raises(ValueError, match=r"env:2: cannot read an assignment"):
        read_env_file(str(file))


@pytest.mark.parametrize(
    ("content", "variables"),
    [
        (b"\xef\xbb\xbfA=1\n", {"A": "1"}),
        (b"A=1\r\nB=2\r\n", {"A": "1", "B": "2"}),
        (b"A=x\ry\n", {"A": "x\ry"}),
        (b"A=\xff\xe2\x98\x83", {"A": os.fsdecode(b"\xff\xe2\x98\x83")}),
        (b'A="x" # y\n', {"A": '"x" # y'}),
        (b"my-var.2=\n", {"my-var.2": ""}),
    ],
)
def test_env_file_keeps_values(tmp_path, content, variables):
    """A byte order mark and line ends belong to no variable; every other byte of a value is kept."""
    (tmp_path / "env").write_bytes(content)
    assert read_env_file(str(tmp_path / "env")) == variables


@pytest.mark.parametrize(
    "line",
    [
        b"export D=1",
        b"export\tD=1",
        b"  export =1",
        b"A B=1",
        b"\xef\xbb\xbfB=1",
        b"A\0=1",
        b"A=1\x002",
        b"=1",
        b"\x1b[1mA=1",
        b"A\xff=1",
    ],
)
def test_env_file_refuses_a_line(tmp_path, line):
    """A line that would make a variable of another name than its author meant is refused with its number."""
    (tmp_path / "env").write_bytes(b"OK=1\n" + line + b"\n")
    with pytest.raises(ValueError, match=r"env:2: "):
        read_env_file(str(tmp_path / "env"))


@pytest.mark.parametrize("content", ["A=1\n".encode("utf-16"), b"A=" + b"x" * (1 << 20)])
def test_env_file_refuses_a_file(tmp_path, content):
    """Text in UTF-16 and an endless file are refused."""
    (tmp_path / "env").write_bytes(content)
    with pytest.raises(ValueError, match=r"env:.*cannot be"):
        read_env_file(str(tmp_path / "env"))


def test_env_file_that_is_a_fifo(tmp_path):
    """A FIFO without a writer does not block the supervisor."""
    os.mkfifo(tmp_path / "env")
    assert read_env_file(str(tmp_path / "env")) == {}


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (0, "exit 0"),
        (3, "exit 3"),
        (126, "exit 126 (cannot be executed)"),
        (137, "killed by SIGKILL"),
        (255, "exit 255"),
    ],
)
def test_words(number, said):
    """A status is said so that a person knows what it means."""
    assert exit_status.describe_status(number) == said


SPAWN_WITH_CAPABILITIES = """
import ctypes, os, sys
from autopilot.process import privileges
from autopilot.process.kernel_calls import load_capset, load_prctl
from autopilot.process.job_processes import list_children
from autopilot.process.spawn import read_problem, spawn
from autopilot.spec.plan import Command

PR_SET_KEEPCAPS, PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAPABILITY_VERSION_3 = 8, 47, 2, 0x20080522
user, group, groups, *numbers = sys.argv[1:]
command = Command(argv=("sh", "-c", "grep ^Cap[EPAI] /proc/self/status; id -u; id -G"), user=user, group=group)
load_prctl()
load_capset()
libc = ctypes.CDLL(None)
libc.prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0)
os.setgroups([int(group) for group in groups.split(",")])
os.setresgid(12345, 12345, 12345)
os.setresuid(12345, 12345, 12345)
mask = sum(1 << int(number) for number in numbers)
header, data = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION_3, 0), (ctypes.c_uint32 * 6)(mask, mask, mask)
assert libc.capset(header, data) == 0
for number in numbers:
    assert libc.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, int(number), 0, 0) == 0
child = spawn(command, {"PATH": os.environ["PATH"]})
os.waitpid(child.pid, 0)
print(os.read(child.stdout_fd, 65536).decode(), read_problem(child.problem_fd))
"""
CAP_SETGID, CAP_SETUID, CAP_NET_ADMIN = "6", "7", "12"


def spawn_with_capabilities(user, group, *capabilities, own_groups="0,4"):
    """Start a process as `user` and `group` from one of uid 12345 that has ambient capabilities and `own_groups`."""
    done = subprocess.run(
        [sys.executable, "-c", SPAWN_WITH_CAPABILITIES, user, group, own_groups, *capabilities],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert not done.stderr
    return done.stdout.splitlines()


@pytest.mark.real("root")
def test_another_user_gets_no_right_of_ours():
    """From a supervisor that is not root but may change users, a job of another user has no capability and no group."""
    *capabilities, uid, groups, _problem = spawn_with_capabilities(
        "23456", "23456", CAP_SETGID, CAP_SETUID, CAP_NET_ADMIN
    )
    assert [int(line.split()[1], 16) for line in capabilities] == [0, 0, 0, 0]
    assert (uid, groups) == ("23456", "23456")


@pytest.mark.real("root")
def test_another_user_is_refused_where_groups_cannot_be_set():
    """Without the right to set groups, a job of another user is not started, for it would have our groups."""
    assert spawn_with_capabilities("23456", "12345", CAP_SETUID)[-1].startswith(" cannot become user 23456")


@pytest.mark.real("root")
def test_our_own_user_needs_no_right():
    """A job whose user is the supervisor's own starts without any right to change users, as far as its groups go."""
    assert spawn_with_capabilities("12345", "12345", own_groups="12345")[4] == "12345"
    problem = spawn_with_capabilities("12345", "12345")[-1]
    assert "may not give up its groups [0, 4] without CAP_SETGID" in problem


def read_restrictions(**fields):
    """Return the lines of /proc/self/status about privileges, by name, of a process that was started so."""
    pattern = "^(Cap|NoNewPrivs|Groups)"
    code, output, why = run("grep", "-E", pattern, "/proc/self/status", **fields)
    assert (code, why) == (0, None)
    return {name: value.strip() for name, _, value in (line.partition(":") for line in output.splitlines())}


@pytest.mark.real("root")
def test_no_new_privs():
    """A process of another user gains no privileges unless it is asked for; one of root, or without a user, may."""
    assert read_restrictions(user="54321")["NoNewPrivs"] == "1"
    assert read_restrictions(user="54321", no_new_privs=False)["NoNewPrivs"] == "0"
    assert read_restrictions(user="root")["NoNewPrivs"] == "0"
    assert read_restrictions()["NoNewPrivs"] == "0"
    assert read_restrictions(no_new_privs=True)["NoNewPrivs"] == "1"


@pytest.mark.real("root")
@pytest.mark.parametrize("user", [None, "54321"])
def test_bounding_set(user):
    """A process has no capability outside of its bounding set; an empty one leaves none, also to root."""
    ours = privileges.read_capability_sets()
    found = read_restrictions(user=user, capabilities=(0, 5))
    kept = ours["CapBnd"] & 0b100001
    assert int(found["CapBnd"], 16) == kept
    assert int(found["CapPrm"], 16) == int(found["CapEff"], 16) == (kept if user is None else 0)
    assert int(found["CapInh"], 16) == int(found["CapAmb"], 16) == 0
    none = read_restrictions(user=user, capabilities=())
    assert {int(none[name], 16) for name in ("CapBnd", "CapPrm", "CapEff", "CapInh", "CapAmb")} == {0}
    assert privileges.read_capability_sets() == ours


@pytest.mark.real("root")
def test_secure_bits():
    """A process with `noroot` gets no capability for being root, and one of another user keeps none at the change."""
    noroot, no_setuid_fixup = 1 << 0, 1 << 2
    assert int(read_restrictions(secure_bits=noroot)["CapEff"], 16) == 0
    found = read_restrictions(user="54321", secure_bits=no_setuid_fixup)
    assert {int(found[name], 16) for name in ("CapPrm", "CapEff", "CapInh", "CapAmb")} == {0}


@pytest.mark.real("root")
def test_what_the_supervisor_may_not_restrict():
    """Without the right to limit them, a process is not started with more capabilities than were asked for."""
    script = """
import os, sys
from autopilot.process import privileges
from autopilot.process.spawn import read_problem, spawn
from autopilot.spec.plan import Command
privileges.load_capset()
os.setgroups([])
os.setresgid(12345, 12345, 12345)
os.setresuid(12345, 12345, 12345)
for fields in ({"capabilities": ()}, {"secure_bits": 1}):
    child = spawn(Command(argv=("true",), **fields), {"PATH": os.environ["PATH"]})
    os.waitpid(child.pid, 0)
    print(read_problem(child.problem_fd))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    refusal = "cannot restrict its privileges: the supervisor needs CAP_SETPCAP to"
    assert done.stdout.splitlines() == [f"{refusal} limit capabilities", f"{refusal} set secure bits"]
