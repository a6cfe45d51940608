"""Test a life as a user sees it: order, exit codes, last words, signals, the control socket."""

from __future__ import annotations

import json
import os
import shutil
import signal
import stat
import subprocess
import sys

import pytest

from tests.app.harness import VICTIM, SupervisorProcess, eventually, find_free_port, shell


def test_one_job(tmp_path):
    """A job's lines are in the log under its name, and the life ends with it: exit 0, last words, no socket left."""
    with SupervisorProcess(tmp_path, {"jobs": [{"name": "a", "exec": shell("echo one; echo two >&2")}]}) as pilot:
        assert pilot.wait() == 0
        assert sorted(pilot.list_job_output("a")) == ["one", "two"]
        words = pilot.read_last_words()
        assert (words["reason"], words["exit_code"], words["state"]) == ("completed", 0, "ended")
        assert not (pilot.state / "autopilot.sock").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "code"), [("exit 42", 42), ("kill -9 $$", 137), ("kill -TERM $$", 143), ("exit 0", 0)]
)
def test_exit_code_of_the_essential_job(tmp_path, script, code):
    """The essential job's own code is the container's, 128+n for a signal."""
    spec = {"jobs": [{"name": "main", "exec": shell(script), "essential": True}, VICTIM]}
    with SupervisorProcess(tmp_path, spec) as pilot:
        assert pilot.wait() == code
        assert pilot.read_last_words()["exit_code"] == code


@pytest.mark.slow
@pytest.mark.parametrize(
    ("argv", "code", "expected"),
    [
        (["no-such-program"], 127, "not found in PATH"),
        (["/no/such/file"], 127, "no such file"),
        (["/etc/passwd"], 126, "Permission denied"),
    ],
)
def test_missing_executable(tmp_path, argv, code, expected):
    """A program that cannot be executed ends its job with 127 or 126 and one line that says why."""
    with SupervisorProcess(tmp_path, {"jobs": [{"name": "a", "exec": argv}]}) as pilot:
        assert pilot.wait() == code
        assert expected in pilot.find_events("cannot start")[0]["message"]


def test_sigterm_stops_in_order(tmp_path):
    """SIGTERM stops the jobs in their order, waits for no timer, and the exit code is 0."""
    trap = "trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.02; done"
    spec = {"jobs": [{"name": n, "exec": shell(trap), "stop": {"order": o}} for n, o in (("late", 5), ("early", 1))]}
    with SupervisorProcess(tmp_path, spec) as pilot:
        for name in ("late", "early"):
            pilot.wait_for_event(name, "up")
        assert pilot.stop() == 0
        assert [line["job"] for line in pilot.lines if line["message"] == "bye"] == ["early", "late"]
        assert pilot.read_last_words()["reason"] == "signal"


@pytest.mark.slow
def test_environment_of_a_job(tmp_path):
    """A job gets its own variables over an env file over the supervisor's, and ContainerPilot's pid variables."""
    (tmp_path / "vars").write_text("# a comment\nA=file\nB=file\n")
    script = 'echo "$A $B $C $CONTAINERPILOT_PID $PPID $CONTAINERPILOT_MAIN_JOB_PID"'
    spec = {
        "jobs": [
            {"name": "main-job", "exec": ["sleep", "60"]},
            {
                "name": "a",
                "exec": shell(script),
                "env": {"A": "own"},
                "env_file": str(tmp_path / "vars"),
                "when": {"interval": "1h"},
            },
        ]
    }
    with SupervisorProcess(tmp_path, spec, env={"A": "outer", "C": "outer"}) as pilot:
        line = pilot.wait_for(lambda line: line.get("job") == "a" and "stream" in line)
        main = pilot.wait_for_event("main-job", "started")
        assert line["message"].split() == ["own", "file", "outer", *[str(pilot.process.pid)] * 2, str(main["pid"])]


@pytest.mark.parametrize("locale", ["C", "en_US.ISO-8859-1"])
@pytest.mark.slow
def test_bytes_in_every_locale(tmp_path, locale):
    """Words and variables reach a program as the bytes of the job spec, the env file and the environment."""
    if shutil.which("localedef"):  # elsewhere the locale does not exist, and Python takes C
        subprocess.run(["localedef", "-i", "en_US", "-f", "ISO-8859-1", tmp_path / "en_US.ISO-8859-1"], check=False)
    (tmp_path / "vars").write_bytes(b"FILE=\xff\xc3\xbc\n")
    script = 'printf "%s" "ü☃ $SPEC $FILE $OUTER" | od -An -v -tx1 | tr -d " \\n"; echo; echo "☃ü"'
    job = {"name": "a", "exec": shell(script), "env": {"SPEC": "ü☃"}, "env_file": str(tmp_path / "vars")}
    outer = os.fsdecode(b"\xfe\xc3\xbc")
    variables = {"LC_ALL": locale, "LOCPATH": str(tmp_path), "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    with SupervisorProcess(tmp_path, {"jobs": [job]}, env={**variables, "OUTER": outer}) as pilot:
        assert pilot.wait() == 0
        expected = "ü☃ ü☃ ".encode() + b"\xff\xc3\xbc \xfe\xc3\xbc"
        assert pilot.list_job_output("a") == [expected.hex(), "☃ü"]


@pytest.mark.slow
def test_limits_umask_directory(tmp_path):
    """Limits, umask and working directory are the job's own."""
    job = {
        "name": "a",
        "exec": shell("ulimit -n; umask; pwd"),
        "cwd": "/usr",
        "umask": "027",
        "limits": {"nofile": 123},
    }
    with SupervisorProcess(tmp_path, {"jobs": [job]}) as pilot:
        assert pilot.wait() == 0
        assert pilot.list_job_output("a") == ["123", "0027", "/usr"]


@pytest.mark.real("root")
def test_user_with_its_groups(tmp_path):
    """A job's user comes with its primary and supplementary groups and its home."""
    job = {"name": "a", "exec": shell("id -un; id -gn; echo $HOME $USER"), "user": "nobody"}
    with SupervisorProcess(tmp_path, {"jobs": [job]}) as pilot:
        assert pilot.wait() == 0
        assert pilot.list_job_output("a") == ["nobody", "nogroup", "/nonexistent nobody"]


@pytest.mark.real("root")
def test_user_opens_its_own_stdout(tmp_path):
    """A job of another user may open /dev/stdout anew, as many programs do for their log."""
    job = {"name": "a", "exec": shell("echo one > /dev/stdout; echo two > /dev/stderr"), "user": "nobody"}
    with SupervisorProcess(tmp_path, {"jobs": [job]}) as pilot:
        assert pilot.wait() == 0
        assert sorted(pilot.list_job_output("a")) == ["one", "two"]


@pytest.mark.slow
def test_unusable_log_file(tmp_path):
    """A log file that cannot be opened is said on stderr: exit 78, and nothing is left running."""
    with SupervisorProcess(tmp_path, {"jobs": [VICTIM], "logging": {"output": "/proc/nowhere/log"}}) as pilot:
        assert pilot.wait() == 78
        assert "cannot open the log" in pilot.stderr_text


@pytest.mark.slow
def test_log_file_is_reopened(tmp_path):
    """SIGUSR1 reopens the log file after it was rotated away."""
    log = tmp_path / "log"
    spec = {
        "jobs": [{"name": "a", "exec": shell("while :; do echo tick; sleep 0.05; done")}],
        "logging": {"output": str(log)},
    }
    with SupervisorProcess(tmp_path, spec) as pilot:
        eventually(lambda: log.exists() and "tick" in log.read_text(), "it logs")
        log.rename(tmp_path / "log.1")
        pilot.send_signal(signal.SIGUSR1)
        eventually(lambda: log.exists() and "tick" in log.read_text(), "it logs into the new file")
        assert pilot.stop() == 0


def test_wrong_config_starts_nothing(tmp_path):
    """A config with problems is refused whole: exit 78, every problem with its place, nothing started, last words."""
    text = '{ jobs: [\n  { name: "a", exec: "touch started", helth: {} },\n  { name: "a", exec: "true" } ] }'
    with SupervisorProcess(tmp_path, text) as pilot:
        assert pilot.wait() == 78
        assert "autopilot.json5:2:" in pilot.stderr_text and "autopilot.json5:3:" in pilot.stderr_text
        assert "helth" in pilot.stderr_text
        words = pilot.read_last_words()
        assert (words["reason"], words["exit_code"]) == ("config", 78)


def test_missing_config():
    """No config anywhere: one line that says the three ways to name one, exit 78."""
    env = {k: v for k, v in os.environ.items() if k not in ("AUTOPILOT_CONFIG", "CONTAINERPILOT")}
    done = subprocess.run(
        [sys.executable, "-m", "autopilot", "run"],
        env={**env, "AUTOPILOT_STATE": "/proc/nowhere"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 78
    assert "AUTOPILOT_CONFIG" in done.stderr


@pytest.mark.slow
def test_second_supervisor_leaves(tmp_path):
    """A second supervisor on the same state leaves with 64 and harms neither the socket nor the words of the first."""
    first_place, second_place = tmp_path / "1", tmp_path / "2"
    first_place.mkdir(), second_place.mkdir()
    with SupervisorProcess(first_place, {"jobs": [VICTIM]}) as first:
        first.wait_for_event("victim", "started")
        env = {"AUTOPILOT_STATE": str(first.state)}
        with SupervisorProcess(second_place, {"jobs": [VICTIM]}, env=env) as second:
            assert second.wait() == 64
            assert "another supervisor" in second.stderr_text
        assert first.run_verb("ping").returncode == 0
        assert first.read_last_words()["state"] == "running"
        assert first.stop() == 0


@pytest.mark.slow
def test_status_and_socket(tmp_path):
    """The control socket is its owner's alone; status, ping and job verbs work through it."""
    with SupervisorProcess(
        tmp_path, {"jobs": [VICTIM, {"name": "late", "exec": "true", "when": {"source": "SIGHUP"}}]}
    ) as pilot:
        started = pilot.wait_for_event("victim", "started")
        assert stat.S_IMODE((pilot.state / "autopilot.sock").stat().st_mode) == 0o600
        shown = json.loads(pilot.run_verb("status", "-o", "json").stdout)
        victim = next(job for job in shown["jobs"] if job["name"] == "victim")
        assert (victim["state"], victim["pid"]) == ("running", started["pid"])
        assert "victim" in pilot.run_verb("status").stdout
        assert pilot.run_verb("restart", "victim").returncode == 0
        pilot.wait_for(lambda line: line.get("run") == 2 and line["message"] == "started")
        assert pilot.run_verb("status", "nobody").returncode == 1
        assert "there is no job" in pilot.run_verb("restart", "nobody").stderr
        done = pilot.run_verb("stop")
        assert (done.returncode, done.stdout) == (0, "stopping\nended\n")
        assert pilot.wait() == 0
        assert pilot.run_verb("ping").returncode == 69


@pytest.mark.slow
@pytest.mark.parametrize("with_directory", [False, True])
def test_a_removed_socket_is_made_again(tmp_path, with_directory):
    """A cleaner that removes the socket, or its whole directory, takes no verb away for long, and a line says so."""
    place = tmp_path / "run" / "autopilot.sock"
    with SupervisorProcess(tmp_path, {"jobs": [VICTIM], "control": {"socket": str(place)}}) as pilot:
        pilot.wait_for_event("victim", "started")
        if with_directory:
            shutil.rmtree(place.parent)
        else:
            place.unlink()
        pilot.wait_for(lambda line: line.get("event") == "control_socket_remade")
        assert stat.S_IMODE(place.stat().st_mode) == 0o600
        assert pilot.run_verb("ping", "--socket", str(place)).returncode == 0
        assert pilot.stop() == 0 and not place.exists()


@pytest.mark.slow
def test_drain_by_command(tmp_path):
    """`autopilot drain` runs the drain command, waits until `until` says so, and ends the life with 0."""
    gate = tmp_path / "gate"
    spec = {
        "jobs": [VICTIM],
        "lifetime": {
            "drain": {"exec": ["touch", str(tmp_path / "begun")], "until": ["test", "-e", str(gate)], "poll": "50ms"}
        },
    }
    with SupervisorProcess(tmp_path, spec) as pilot:
        pilot.wait_for_event("victim", "started")
        assert pilot.run_verb("drain", "--no-wait").returncode == 0
        eventually((tmp_path / "begun").exists, "the drain begins")
        assert pilot.run_verb("ping").returncode == 0
        gate.touch()
        assert pilot.wait() == 0
        assert pilot.read_last_words()["reason"] == "drain"


@pytest.mark.slow
def test_lifetime_expires(tmp_path):
    """A life drains and ends by itself after its lifetime."""
    spec = {"jobs": [VICTIM], "lifetime": {"max": "300ms", "drain": {"exec": "true", "until": "true"}}}
    with SupervisorProcess(tmp_path, spec) as pilot:
        assert pilot.wait() == 0
        assert pilot.read_last_words()["reason"] == "lifetime"


@pytest.mark.slow
def test_words_while_alive(tmp_path):
    """While it runs, and after a SIGKILL, the last words say `running`; the next life keeps them as previous words.

    A killed supervisor's jobs end with it.
    """
    with SupervisorProcess(tmp_path, {"jobs": [VICTIM]}) as pilot:
        victim = pilot.wait_for_event("victim", "started")
        life = pilot.read_last_words()["life"]
        pilot.send_signal(signal.SIGKILL)
        pilot.wait()
        assert pilot.read_last_words()["state"] == "running"
        eventually(lambda: not os.path.exists(f"/proc/{victim['pid']}"), "the job ends with its supervisor")
    with SupervisorProcess(tmp_path, {"jobs": [VICTIM]}) as pilot:
        pilot.wait_for_event("victim", "started")
        previous = json.loads((pilot.state / "previous-words.json").read_text())
        assert (previous["life"], previous["state"]) == (life, "running")
        pilot.stop()


@pytest.mark.slow
def compile_plan(config, words):
    """Write the compiled plan of a config whose job echoes the first word, with the second in its place."""
    from autopilot.app import plan_cache
    from autopilot.spec import load, serialize_plan

    old, new = map(json.dumps, words)
    plan = json.dumps(serialize_plan(load(config).plan)).replace(old, new)
    plan_cache.write(plan_cache.get_path_beside(str(config)), config.read_text(), json.loads(plan))


@pytest.mark.slow
def test_compiled_plan_is_used_and_never_stale(tmp_path):
    """A compiled plan beside the config is used if it was made from the same text, and a damaged one is not."""
    config = tmp_path / "autopilot.json5"
    config.write_text(json.dumps({"jobs": [{"name": "a", "exec": ["echo", "one"]}]}))
    compile_plan(config, ("one", "compiled"))
    damaged = [b"garbage", b"", b"[" * 500_000, b"[]", b'{"version": 1}']
    for word, said, content in [("one", "compiled", None), ("two", "two", None), *(("one", "one", c) for c in damaged)]:
        if content is not None:
            (tmp_path / "autopilot.json5.plan").write_bytes(content)
        with SupervisorProcess(tmp_path, {"jobs": [{"name": "a", "exec": ["echo", word]}]}) as pilot:
            assert pilot.wait() == 0
            assert pilot.list_job_output("a") == [said]


@pytest.mark.slow
def test_state_directory_holds_no_plan(tmp_path):
    """A life leaves no compiled plan in the state directory, which outlives the container."""
    with SupervisorProcess(tmp_path, {"jobs": [{"name": "a", "exec": ["true"]}]}) as pilot:
        assert pilot.wait() == 0
        assert {path.name for path in pilot.state.iterdir()} == {"autopilot.sock.lock", "last-words.json", "lock"}


@pytest.mark.slow
def test_http_and_tcp_checks(tmp_path):
    """HTTP and TCP checks find a server healthy, and an HTTP status outside the wanted ones unhealthy."""
    port = find_free_port()
    server = [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", str(port)]
    url = f"http://127.0.0.1:{port}/"
    health = {"interval": 1, "ttl": 5, "timeout": 1}
    spec = {
        "jobs": [
            {"name": "web", "exec": server, "health": {"http": {"url": url}, **health}},
            {"name": "by-tcp", "exec": ["sleep", "60"], "health": {"tcp": f"127.0.0.1:{port}", **health}},
            {"name": "teapot", "exec": ["sleep", "60"], "health": {"http": {"url": url, "status": 418}, **health}},
        ]
    }
    with SupervisorProcess(tmp_path, spec) as pilot:
        pilot.wait_for_event("web", "marked healthy")
        pilot.wait_for_event("by-tcp", "marked healthy")
        assert ": 200" in pilot.wait_for_event("teapot", "marked unhealthy")["message"]
        pilot.stop()


@pytest.mark.slow
def test_internal_error(tmp_path):
    """A bug of ours ends the life with 70: said with its traceback, in the last words, and nothing is left running."""
    code = (
        "import sys; sys.path.insert(0, sys.argv[2])\n"
        "from autopilot.machines import lifetime\n"
        "def broken(*a, **k): raise RuntimeError('a bug')\n"
        "lifetime.TABLE = dict.fromkeys(lifetime.TABLE, broken)\n"
        "from autopilot.app.boot import run\n"
        "sys.exit(run(sys.argv[1]))\n"
    )
    config, state, pids = tmp_path / "autopilot.json", tmp_path / "state", tmp_path / "pids"
    job = {"name": "a", "exec": shell(f"echo $$ > {pids}; exec sleep 1000")}
    config.write_text(json.dumps({"jobs": [job], "logging": {"format": "text"}}))
    done = subprocess.run(
        [sys.executable, "-c", code, str(config), os.getcwd()],
        env={**os.environ, "AUTOPILOT_STATE": str(state)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 70
    assert "internal error: RuntimeError('a bug')" in done.stdout and "Traceback" in done.stdout
    words = json.loads((state / "last-words.json").read_text())
    assert (words["reason"], words["exit_code"]) == ("internal", 70)
    assert not pids.exists() or not os.path.exists(f"/proc/{pids.read_text().strip()}")


@pytest.mark.slow
def test_tools_have_the_variables_of_condor_master(tmp_path):
    """HTCondor's tools run with the `env` and `env_file` of the job that is condor_master, and other jobs' do not."""
    programs, file = tmp_path / "bin", tmp_path / "vars"
    programs.mkdir()
    file.write_text("CONDOR_CONFIG=/file\n_CONDOR_LOCAL=file\n")
    for name, text in (
        ("condor_master", "echo ready"),
        ("condor_config_val", "echo tool $CONDOR_CONFIG $_CONDOR_LOCAL; exit 1"),
    ):
        (programs / name).write_text(f"#!/bin/sh\n{text}\n")
        (programs / name).chmod(0o755)
    env = {"CONDOR_CONFIG": "/opt/own", "PATH": f"{programs}:{os.environ['PATH']}"}
    master = {"name": "master", "exec": ["condor_master", "-f"], "env": env, "env_file": str(file)}
    with SupervisorProcess(tmp_path, {"jobs": [master]}) as pilot:
        assert pilot.wait() == 0
        assert pilot.find_events("tool /opt/own file")


@pytest.mark.parametrize("section", [{}, {"htcondor": True}])
@pytest.mark.slow
def test_problems_of_an_implied_section(tmp_path, section):
    """A wrapper called condor_master starts with warnings, and is refused only where the job spec has the section."""
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "condor_master").write_text("#!/bin/sh\nCONDOR_CONFIG=/opt/own; echo ready\n")
    (programs / "condor_master").chmod(0o755)
    (programs / "condor_config_val").write_text("#!/bin/sh\necho no configuration here; exit 1\n")
    (programs / "condor_config_val").chmod(0o755)
    spec = {"jobs": [{"name": "master", "exec": ["condor_master", "-f"]}], **section}
    with SupervisorProcess(tmp_path, spec, env={"PATH": f"{programs}:{os.environ['PATH']}"}) as pilot:
        assert pilot.wait() == (os.EX_CONFIG if section else 0)
        assert pilot.list_job_output("master") == ([] if section else ["ready"])
        problem = pilot.find_events("no configuration here")[0]
        assert problem["level"] == ("error" if section else "warning")


@pytest.mark.slow
def test_origin_of_a_request_is_logged(tmp_path):
    """Each request for a change is in the log with uid and pid of the client; one that only reads is not."""
    with SupervisorProcess(tmp_path, {"jobs": [VICTIM]}) as pilot:
        pilot.wait_for_event("victim", "started")
        assert pilot.run_verb("status").returncode == 0
        assert pilot.run_verb("stop").returncode == 0
        assert pilot.wait() == 0
        (line,) = [line for line in pilot.lines if line.get("event") == "control_request"]
        assert line["uid"] == os.geteuid() and line["client_pid"] != pilot.process.pid
        assert line["message"].startswith("control request: POST /v1/stop from uid")
