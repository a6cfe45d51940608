"""The command line of `containerpilot`: Go's flag syntax, what each flag does, how it ends."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from autopilot import __version__
from autopilot.containerpilot.go_flags import FlagError, HelpRequestedError, parse_flags
from tests.app.harness import shell
from tests.containerpilot.drop_in import PROGRAM, DropIn, run_to_end

pytestmark = pytest.mark.slow  # seconds each: for `make test`, not for `make check`

VECTORS = json.loads((Path(__file__).parents[1] / "vectors/gotemplate.json").read_text())
SLEEPER = {"name": "sleeper", "exec": ["sleep", "1000"]}


# --- the syntax ---


@pytest.mark.parametrize(
    ("arguments", "given", "rest"),
    [
        (["-s"], {"s": ["true"]}, []),
        (["--s"], {"s": ["true"]}, []),
        (["-s=false"], {"s": ["false"]}, []),
        (["-s=0", "-s=T"], {"s": ["false", "true"]}, []),
        (["-s", "false", "-v", "x"], {"s": ["true"]}, ["false", "-v", "x"]),
        (["-v", "x"], {"v": ["x"]}, []),
        (["--v", "-s"], {"v": ["-s"]}, []),
        (["-v=a=b"], {"v": ["a=b"]}, []),
        (["--v="], {"v": [""]}, []),
        (["-v", "a", "-v", "b"], {"v": ["a", "b"]}, []),
        (["-s", "--", "-v"], {"s": ["true"]}, ["-v"]),
        (["-", "-s"], {}, ["-", "-s"]),
        (["word", "-s"], {}, ["word", "-s"]),
    ],
)
def test_as_go_reads_flags(arguments, given, rest):
    """Flags have one or two dashes, `-k v` or `-k=v`; they end at `--` and at the first other word."""
    assert parse_flags(arguments, switches=("s",), values=("v",)) == (given, rest)


@pytest.mark.parametrize(
    ("argument", "sentence"),
    [
        ("-x", "flag provided but not defined: -x"),
        ("--x=1", "flag provided but not defined: -x"),
        ("-v", "flag needs an argument: -v"),
        ("-s=maybe", 'invalid boolean value "maybe" for -s: write true or false'),
        ("---s", "bad flag syntax: ---s"),
        ("-=s", "bad flag syntax: -=s"),
    ],
)
def test_as_go_refuses_flags(argument, sentence):
    """Go's sentences for what is no flag, has no value, or is no truth."""
    with pytest.raises(FlagError) as refused:
        parse_flags([argument], switches=("s",), values=("v",))
    assert str(refused.value) == sentence


def test_help_is_asked_for():
    """-h and -help ask for the usage, unless they are flags of the program."""
    for argument in ("-h", "--help"):
        with pytest.raises(HelpRequestedError):
            parse_flags([argument], switches=(), values=())
    assert parse_flags(["-h"], switches=("h",), values=())[0] == {"h": ["true"]}


# --- what needs no supervisor ---


def test_usage():
    """-help says every flag on stderr and exits 0; an unknown flag says so, with the usage, and exits 64."""
    asked = run_to_end("-help")
    assert (asked.returncode, asked.stdout) == (0, "")
    for flag in ("config", "maintenance", "out", "ping", "putenv", "putmetric", "reload", "template", "version"):
        assert f"  -{flag}" in asked.stderr
    wrong = run_to_end("-confg", "x")
    assert (wrong.returncode, wrong.stdout) == (64, "")
    assert wrong.stderr == "flag provided but not defined: -confg\n" + asked.stderr


def test_version():
    """-version prints the version in the line and word that scripts look at."""
    version_lines = run_to_end("-version").stdout.splitlines()
    assert version_lines[0] == f"Version: {__version__}"
    assert run_to_end("--version=true").stdout.splitlines() == version_lines


@pytest.mark.parametrize("flags", [["-config", "{}"], ["--config={}"], []], ids=["dash", "equals", "environment"])
def test_template_to_stdout(tmp_path, flags):
    """-template prints the filled-in configuration, to the byte, from -config or from CONTAINERPILOT."""
    config = tmp_path / "c.json5"
    config.write_text('{ jobs: [] } // {{ .WHO | default "nobody" }}{{ range $i := loop 2 }} {{ $i }}{{ end }}')
    done = run_to_end(
        *(flag.format(config) for flag in flags), "-template", env={"WHO": "ours", "CONTAINERPILOT": str(config)}
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "{ jobs: [] } // ours 0 1", "")


def test_template_vectors(tmp_path):
    """Every vector that Go renders comes out of the entry point as Go's; every one it refuses exits 78 with a place."""
    config = tmp_path / "c.json5"
    driver = (
        "import contextlib, io, json, sys\n"
        "from autopilot.containerpilot.command_line import main\n"
        f"sys.argv = ['containerpilot', '-template', '-config', {str(config)!r}, '-out', {str(tmp_path / 'out')!r}]\n"
        "for line in sys.stdin:\n"
        f"    open({str(config)!r}, 'w').write(json.loads(line))\n"
        "    said = io.StringIO()\n"
        "    try:\n"
        "        with contextlib.redirect_stderr(said):\n"
        "            main()\n"
        "        code = 0\n"
        "    except SystemExit as end:\n"
        "        code = end.code\n"
        f"    text = open({str(tmp_path / 'out')!r}).read() if code == 0 else said.getvalue()\n"
        "    print(json.dumps([code, text]), flush=True)\n"
    )  # one process for all: the flags, the file and its atomic writing are the entry point's own
    lines = "".join(json.dumps(case["template"]) + "\n" for case in VECTORS["cases"])
    done = subprocess.run(
        [sys.executable, "-c", driver], input=lines, env=VECTORS["env"], capture_output=True, text=True, check=True
    )
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(answers) == len(VECTORS["cases"])
    for case, (code, text) in zip(VECTORS["cases"], answers, strict=True):
        if "ok" in case:
            assert (code, text) == (0, case["ok"]), case["template"]
        else:
            assert code == 78, case["template"]
            assert text.startswith(f"containerpilot: {config}:"), text


def test_out_is_written_whole(tmp_path):
    """-out replaces the file at once, keeps its mode, follows a link, and leaves nothing else behind."""
    config, real, link = tmp_path / "c", tmp_path / "out", tmp_path / "link"
    config.write_text("{{ .NEW }}")
    real.write_text("old")
    real.chmod(0o640)
    link.symlink_to(real)
    before = real.stat().st_ino
    with real.open() as reader:
        assert run_to_end("-config", str(config), "-template", "-out", str(link), env={"NEW": "new"}).returncode == 0
        assert reader.read() == "old"  # who had it open reads what it was, never half of both
    assert real.read_text() == "new" and link.is_symlink()
    assert real.stat().st_ino != before and stat.S_IMODE(real.stat().st_mode) == 0o640
    assert {path.name for path in tmp_path.iterdir()} == {"c", "out", "link"}


def test_out_that_cannot_be_replaced(tmp_path):
    """-out into a device or a pipe writes to it; into a directory that is not there it says so and exits 73."""
    config = tmp_path / "c"
    config.write_text("text")
    assert run_to_end("-config", str(config), "-template", "-out", "/dev/stdout").stdout == "text"
    assert run_to_end("-config", str(config), "-template", "-out", "-").stdout == "text"
    lost = run_to_end("-config", str(config), "-template", "-out", str(tmp_path / "no/where"))
    assert lost.returncode == 73
    assert lost.stderr == f"containerpilot: cannot write {tmp_path}/no/where: No such file or directory\n"


@pytest.mark.real("namespaces")
def test_out_that_is_mounted(tmp_path):
    """A single file that is mounted into a container cannot be replaced: -out writes into it."""
    config, out, source = tmp_path / "c", tmp_path / "out", tmp_path / "source"
    config.write_text("new")
    out.touch()
    source.write_text("older and longer")
    script = f"mount --bind {source} {out} && {PROGRAM} -config {config} -template -out {out}"
    done = subprocess.run(["unshare", "--mount", "sh", "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr, source.read_text(), out.read_text()) == (0, "", "new", "")


def test_bad_template_keeps_the_old_output(tmp_path):
    """A template that cannot be rendered leaves what -out named as it was, and names line and column."""
    config, out = tmp_path / "c", tmp_path / "out"
    config.write_text("{\n  jobs: [] {{ .X | nothing }}\n}")
    out.write_text("old")
    done = run_to_end("-config", str(config), "-template", "-out", str(out))
    assert (done.returncode, out.read_text()) == (78, "old")
    assert f"{config}:2:" in done.stderr


def test_no_config_named():
    """As a plain process without any configuration it says what to name and exits 78; so does -template."""
    for flags in ([], ["-template"]):
        done = run_to_end(*flags)
        assert done.returncode == 78
        assert "no configuration: name one with -config or in CONTAINERPILOT" in done.stderr


def test_wrong_uses(tmp_path):
    """Values that ContainerPilot took for `disable`, dropped or passed on are refused before any request."""
    for flags, sentence in (
        (["-maintenance", "on"], 'invalid value "on" for flag -maintenance: write enable or disable'),
        (["-putmetric", "x"], "cannot set 'x'; write NAME=VALUE"),
    ):
        done = run_to_end(*flags, env={"AUTOPILOT_SOCKET": str(tmp_path / "none")})
        assert (done.returncode, done.stderr) == (64, f"containerpilot: {sentence}\n")


def test_nobody_answers(tmp_path):
    """A flag that asks a supervisor exits 69 and names the socket when there is none."""
    config = tmp_path / "c"
    config.write_text(json.dumps({"control": {"socket": str(tmp_path / "there.socket")}, "jobs": [SLEEPER]}))
    for flags in (["-ping"], ["-putenv", "A=b"], ["-maintenance", "enable"], ["-putmetric", "a=1"], ["-reload"]):
        done = run_to_end("-config", str(config), *flags)
        assert done.returncode == 69, flags
        assert str(tmp_path / "there.socket") in done.stderr


# --- with one ---


@pytest.mark.slow
def test_a_whole_life(tmp_path):
    """It runs the config, answers its flags at the config's socket, and leaves with the last job's end."""
    job = {"name": "job", "exec": shell("echo up; until [ -e go ]; do sleep 0.02; done"), "cwd": str(tmp_path)}
    with DropIn(tmp_path, {"jobs": [job]}) as pilot:
        pilot.wait_for_event("job", "up")
        for flag in ("-ping", "--ping", "-ping=true"):
            answer = pilot.run_with_flags(flag)
            assert (answer.returncode, answer.stdout, answer.stderr) == (0, "ok\n", "")
        assert run_to_end("-ping", env={"CONTAINERPILOT": str(pilot.config)}).stdout == "ok\n"
        assert run_to_end("-ping", env={"AUTOPILOT_SOCKET": str(pilot.socket_path)}).stdout == "ok\n"
        assert pilot.run_with_flags("-maintenance", "enable").returncode == 0
        assert json.loads(pilot.send_request("GET", "/v1/status")[1])["maintenance"] is True
        assert pilot.run_with_flags("-maintenance=disable").returncode == 0
        assert json.loads(pilot.send_request("GET", "/v1/status")[1])["maintenance"] is False
        (tmp_path / "go").touch()
        assert pilot.wait() == 0
    assert pilot.stderr_text == ""
    assert not pilot.socket_path.exists()


@pytest.mark.slow
def test_broken_config_does_not_hide_a_living_supervisor(tmp_path):
    """-ping with a config that somebody has just broken still asks the supervisor, which lives on the old one."""
    with DropIn(tmp_path, {"jobs": [SLEEPER]}) as pilot:
        pilot.wait_for_event("sleeper", "started")
        pilot.config.write_text("{control: {")
        lost = pilot.run_with_flags(
            "-ping"
        )  # its own socket was named in what is broken: the default is the best guess
        assert lost.returncode == 69 and "warning" in lost.stderr and "/var/run/containerpilot.socket" in lost.stderr
        assert (
            run_to_end("-ping", "-config", str(pilot.config), env={"AUTOPILOT_SOCKET": str(pilot.socket_path)}).stdout
            == "ok\n"
        )


def test_the_verbs_of_autopilot(tmp_path):
    """`autopilot status` and its siblings work against it, by AUTOPILOT_SOCKET."""
    with DropIn(tmp_path, {"jobs": [SLEEPER]}) as pilot:
        pilot.wait_for_event("sleeper", "started")
        status = subprocess.run(
            [sys.executable, "-m", "autopilot", "status", "-o", "json"],
            env={**os.environ, "AUTOPILOT_SOCKET": str(pilot.socket_path)},
            capture_output=True,
            text=True,
            check=True,
        )
        assert json.loads(status.stdout)["jobs"][0]["name"] == "sleeper"


def test_arguments_that_are_no_flags(tmp_path):
    """Arguments after the flags are ignored, as in ContainerPilot 3, with a message."""
    config = tmp_path / "c"
    config.write_text(json.dumps({"control": {"socket": str(tmp_path / "s")}, "jobs": [{"name": "a", "exec": "true"}]}))
    done = run_to_end("-config", str(config), "node", "server.js", env={"AUTOPILOT_STATE": str(tmp_path / "state")})
    assert done.returncode == 0
    assert "containerpilot: not flags, and not used: node server.js" in done.stderr


def test_empty_values_are_taken_silently(tmp_path):
    """Empty values, which templates make of unset variables, give no warning at the start nor at a reload; an autopilot
    of the same config warns, and a warning about anything else is printed here too.
    """
    spec = {
        "stopTimeout": "",
        "logging": {"level": "", "format": "auto"},
        "jobs": [{**SLEEPER, "when": {}, "tags": [""]}],
    }
    with DropIn(tmp_path, spec) as pilot:
        pilot.wait_for_event("sleeper", "started")
        reloaded = pilot.run_with_flags("-reload")
        assert (reloaded.returncode, reloaded.stdout, reloaded.stderr) == (0, "1 job unchanged\n", "")
        assert pilot.stop() == 0
    assert pilot.stderr_text == ""
    checked = subprocess.run(
        [sys.executable, "-m", "autopilot", "check", str(pilot.config)], capture_output=True, text=True, check=True
    )
    assert checked.stdout.count("is empty and taken as absent") == 4
    pilot.write_spec({**pilot.spec, "jobs": [{"name": "quoted", "exec": "echo 'a b'"}]})
    warned = run_to_end("-config", str(pilot.config), env={"AUTOPILOT_STATE": str(tmp_path / "state")})
    assert warned.stderr.count("warning") == 1 and "jobs[quoted].exec" in warned.stderr


def test_short_life_is_silent_on_stderr(tmp_path):
    """A life that ends before Consul's client is loaded leaves no warning of the interpreter on stderr."""
    with DropIn(tmp_path, {"consul": "127.0.0.1:1", "jobs": [{"name": "a", "exec": "true"}]}) as pilot:
        assert pilot.wait() == 0
    assert pilot.stderr_text == ""


def test_exit_code_is_the_job_s(tmp_path):
    """The exit code is the failed job's (ContainerPilot's was always 0)."""
    config = tmp_path / "c"
    config.write_text(
        json.dumps({"control": {"socket": str(tmp_path / "s")}, "jobs": [{"name": "a", "exec": shell("exit 42")}]})
    )
    assert run_to_end("-config", str(config), env={"AUTOPILOT_STATE": str(tmp_path / "state")}).returncode == 42


def test_starts_as_light_as_autopilot_run():
    """On the way to the first job it loads what `autopilot run` loads, and its own small modules."""

    def list_loaded_modules(module, options):
        code = (
            "import sys\n"
            "import autopilot.app.boot as boot\n"
            "boot.run = lambda *a, **k: print(' '.join(sorted(sys.modules))) or 0\n"
            f"sys.argv = ['x', {options}]\n"
            f"from {module} import main\n"
            "main()\n"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        return set(done.stdout.split())

    ours = list_loaded_modules("autopilot.__main__", "'run', 'c'")
    assert "autopilot.app.boot" in ours
    assert list_loaded_modules("autopilot.containerpilot.command_line", "'-config', 'c'") - ours == {
        "autopilot.containerpilot",
        "autopilot.containerpilot.command_line",
        "autopilot.containerpilot.go_flags",
    }
