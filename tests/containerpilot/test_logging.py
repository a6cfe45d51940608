"""The log of a drop-in: ContainerPilot's three forms, outputs, levels and `raw`, as its users' parsers know them."""

from __future__ import annotations

import json
import re
import shlex
import signal
import time
from datetime import datetime
from typing import Any

import pytest

from autopilot.adapters.logs.containerpilot_formats import (
    DefaultFormat,
    LogfmtFormat,
    format_go_duration,
    format_rfc3339_nano,
    quote_like_go,
)
from autopilot.adapters.logs.containerpilot_formats import JsonFormat as LogrusJson
from autopilot.adapters.logs.log_formats import JsonFormat, TextFormat, choose_format
from tests.app.harness import eventually, shell
from tests.containerpilot.drop_in import DropIn

pytestmark = pytest.mark.slow  # seconds each: for `make test`, not for `make check`

RFC3339 = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)"
TALKER = {"name": "talker", "exec": shell("echo 'it says \"hi\"'; echo b=1 >&2; exit 3")}
CHECKED: dict[str, Any] = {
    "name": "checked",
    "exec": ["sleep", "1000"],
    "health": {"exec": shell("echo well"), "interval": "100ms", "timeout": "10s"},
}


@pytest.fixture
def utc(monkeypatch):
    """Local time is UTC."""
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def run_and_read_log(place, spec, **logging):
    """Run a life of `spec` and return the lines of its log."""
    with DropIn(place, {**spec, "logging": logging}) as pilot:
        pilot.wait()
    assert pilot.stderr_text == ""
    return [line.get("message", line) for line in pilot.lines]


def parse_logfmt(line):
    """A logfmt line as a dict, with its keys in order."""
    return dict(part.split("=", 1) for part in shlex.split(line))


def test_default(tmp_path):
    """`default`: the time and the message; a job's line with job and pid, ours with the job's name before."""
    lines = run_and_read_log(tmp_path, {"jobs": [TALKER]})
    assert all(re.fullmatch(RFC3339 + " .*", line) for line in lines)
    messages = [line.split(" ", 1)[1] for line in lines]
    (pid,) = [
        word.partition("=")[2] for m in messages if "talker: started" in m for word in m.split() if "pid=" in word
    ]
    assert f'job=talker pid={pid} it says "hi"' in messages and f"job=talker pid={pid} b=1" in messages
    assert any(message.startswith("talker exited with error: exit status 3") for message in messages)


def test_text(tmp_path):
    """`text`: logfmt with time, level and msg first, quoted where it must be, and the job and pid of a job's line."""
    lines = [parse_logfmt(line) for line in run_and_read_log(tmp_path, {"jobs": [TALKER]}, format="text")]
    assert all(list(line)[:3] == ["time", "level", "msg"] for line in lines)
    assert all(re.fullmatch(RFC3339, line["time"]) and "." not in line["time"] for line in lines)
    started = next(line for line in lines if line["msg"] == "started")
    spoken = next(line for line in lines if line["msg"] == 'it says "hi"')
    assert (spoken["level"], spoken["job"], spoken["pid"]) == ("info", "talker", started["pid"])
    assert next(line for line in lines if line["msg"] == "b=1")["level"] == "info"  # stderr as well
    assert next(line for line in lines if line["msg"].startswith("talker exited"))["level"] == "error"


def test_json(tmp_path):
    """`json`: level, msg and time as logrus names them, in the alphabet's order; a job's line has job and pid."""
    lines = run_and_read_log(tmp_path, {"jobs": [TALKER]}, format="json")
    for line in lines:
        del line["arrived"]
    assert all(list(line) == sorted(line) and {"level", "msg", "time"} <= set(line) for line in lines)
    spoken = next(line for line in lines if line["msg"] == 'it says "hi"')
    assert set(spoken) - {"container_id"} == {"job", "level", "msg", "pid", "time"} and spoken["level"] == "info"
    assert datetime.fromisoformat(spoken["time"]).tzinfo is not None


def test_checks_are_heard(tmp_path):
    """The output of a health check is in the log, under the name `check.JOB`."""
    with DropIn(tmp_path, {"jobs": [CHECKED], "logging": {"format": "json"}}) as pilot:
        line = pilot.wait_for(lambda line: line.get("msg") == "well")
        assert line["pid"] > 1
        assert (line["check"], line["level"]) == ("check.checked", "info")
        assert pilot.stop() == 0


def test_raw(tmp_path):
    """`logging.raw` of a job or a check passes its lines as they are, whatever the level."""
    jobs = [
        {**TALKER, "logging": {"raw": True}},
        {**CHECKED, "health": {**CHECKED["health"], "logging": {"raw": "true"}}},
    ]
    with DropIn(tmp_path, {"jobs": jobs, "logging": {"format": "json", "level": "ERROR"}}) as pilot:
        for text in ('it says "hi"', "well"):
            pilot.wait_for(lambda line, text=text: line.get("message") == text)
        assert pilot.stop() == 0
    assert pilot.stderr_text.splitlines()[-1] == "b=1"


@pytest.mark.parametrize("output", ["stdout", "stderr", "file"])
def test_raw_is_the_containers_own_streams(tmp_path, output):
    """Raw lines go to the container's stdout and stderr, each to its own, wherever the log goes."""
    file = tmp_path / "log"
    logging = {"output": str(file) if output == "file" else output, "format": "text"}
    with DropIn(tmp_path, {"jobs": [{**TALKER, "logging": {"raw": True}}], "logging": logging}) as pilot:
        pilot.wait()
    out, err = [line["message"] for line in pilot.lines], pilot.stderr_text.splitlines()
    assert 'it says "hi"' in out and 'it says "hi"' not in err
    assert "b=1" in err and "b=1" not in out
    assert not file.exists() or "hi" not in file.read_text()


def test_levels(tmp_path):
    """A job's lines are of level INFO: WARN hides them and our own information, not our warnings."""
    messages = " ".join(run_and_read_log(tmp_path, {"jobs": [TALKER]}, level="WARN"))
    assert "talker exited with error" in messages
    assert "hi" not in messages and "started" not in messages


def test_debug_says_no_arguments(tmp_path):
    """DEBUG logs neither command lines nor variables (ContainerPilot's had passwords in them)."""
    job = {"name": "a", "exec": ["true", "--password=s3cret"], "env": {"TOKEN": "s3cret"}}
    assert "s3cret" not in str(run_and_read_log(tmp_path, {"jobs": [job]}, level="DEBUG"))


@pytest.mark.parametrize("output", ["stdout", "stderr", "file"])
def test_outputs(tmp_path, output):
    """Everything goes where `output` says, and nothing elsewhere."""
    file = tmp_path / "log"
    with DropIn(
        tmp_path, {"jobs": [TALKER], "logging": {"output": str(file) if output == "file" else output}}
    ) as pilot:
        pilot.wait()
    out = "".join(line["message"] for line in pilot.lines)
    found = {"stdout": out, "stderr": pilot.stderr_text, "file": file.read_text() if file.exists() else ""}
    assert [name for name, text in found.items() if text] == [output]
    assert 'it says "hi"' in found[output]


def test_known_sentences(tmp_path):
    """The log says what ContainerPilot's users grep for: start, socket, a job's timeout and ends, and each reload."""
    jobs = [
        {"name": "slow", "exec": ["sleep", "60"], "timeout": "200ms"},
        {"name": "well", "exec": "true"},
        {"name": "lost", "exec": "/no/such/program"},
        {"name": "main", "exec": ["sleep", "60"]},
    ]
    with DropIn(tmp_path, {"jobs": jobs, "logging": {"format": "default"}}) as pilot:

        def count(text):
            return sum(text in line["message"] for line in pilot.lines)

        eventually(lambda: count(" slow timeout after 200ms") == 1, "the timeout is said")
        eventually(lambda: count(" slow exited with error: signal: killed") == 1, "the kill is said")
        eventually(lambda: count(" unable to start lost: ") == 1, "the missing program is said")
        eventually(lambda: count(" well exited without error") == 1, "the success is said")
        assert count(f" loaded config: {pilot.config}, 4 jobs") == 1
        assert count(f" control: serving at {pilot.socket_path}") == 1
        assert pilot.send_request("POST", "/v3/reload")[0] == 200
        eventually(lambda: count(" control: reloaded app via control plane") == 1, "the reload is said")
        eventually(lambda: count(f" control: serving at {pilot.socket_path}") == 2, "the socket is said again")
        assert pilot.stop() == 0


@pytest.mark.parametrize(
    ("event", "message", "status", "said"),
    [
        (
            "job_timed_out",
            "ran longer than its timeout of 0.2 s, sending SIGKILL",
            None,
            "a timeout after 200ms, sending",
        ),
        (
            "job_timed_out",
            "ran longer than its timeout of 90 s, sending SIGKILL",
            None,
            "a timeout after 1m30s, sending",
        ),
        ("job_exited", "ended, exit 3", 3, "a exited with error: exit status 3"),
        ("job_exited", "ended, killed by SIGTERM", 143, "a exited with error: signal: terminated"),
        ("job_exited", "ended, exit 127 (command not found)", 127, "a exited with error: exit status 127"),
        ("job_exited", "ended, exit 0", 0, "a exited without error"),
        ("job_exited", "cannot start: no such file", 127, "unable to start a: no such file"),
        ("job_exited", "killed by the kernel: no memory", 137, "a exited with error: signal: killed (killed by the"),
    ],
)
def test_ends_in_known_words(event, message, status, said):
    """The end of a job is said in ContainerPilot's words, with Go's names of statuses, signals and durations."""
    entry = {"event": event, "job": "a", "message": message, "level": "info"}
    line = DefaultFormat({}).format_entry(entry if status is None else {**entry, "status": status})
    assert line.split(" ", 1)[1].startswith(said)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (2e-6, "2µs"), (0.0015, "1.5ms"), (0.1, "100ms"), (1.5, "1.5s"), (60, "1m0s"), (3723.25, "1h2m3.25s")],
)
def test_durations_as_go_writes_them(seconds, text):
    """A duration has the form that Go's programs print."""
    assert format_go_duration(seconds) == text


def test_rotation(tmp_path):
    """After a file was moved away SIGUSR1 begins it anew; no line is lost, and none is in both."""
    file, old = tmp_path / "log", tmp_path / "log.1"
    counter = {"name": "counter", "exec": shell("i=0; while :; do i=$((i+1)); echo line $i.; sleep 0.002; done")}
    with DropIn(tmp_path, {"jobs": [counter], "logging": {"output": str(file)}}) as pilot:
        eventually(lambda: file.exists() and "line 20." in file.read_text(), "it writes")
        file.rename(old)
        pilot.send_signal(signal.SIGUSR1)
        eventually(lambda: file.exists() and file.read_text().count("line") > 20, "it writes anew")
        assert pilot.stop() == 0
    numbers = [int(n) for part in (old, file) for n in re.findall(r"line (\d+)\.", part.read_text())]
    assert numbers == list(range(1, len(numbers) + 1))


def test_rotation_that_fails(tmp_path):
    """A log file that cannot be reopened stays in use, and gets a line with the cause."""
    (tmp_path / "logs").mkdir()
    file = tmp_path / "logs" / "log"
    with DropIn(tmp_path, {"jobs": [CHECKED], "logging": {"output": str(file)}}) as pilot:
        eventually(lambda: file.exists() and "started" in file.read_text(), "it writes")
        kept = file.open()
        file.unlink()
        (tmp_path / "logs").rmdir()
        pilot.send_signal(signal.SIGUSR1)
        text = ""

        def has_complained():
            nonlocal text
            text += kept.read()
            return "cannot reopen the log" in text

        with kept:
            eventually(has_complained, "it complains")
        assert pilot.stop() == 0


@pytest.mark.parametrize(
    ("format", "terminal", "containerpilot", "lines"),
    [
        ("default", True, True, DefaultFormat),
        ("default", False, True, DefaultFormat),
        ("text", False, True, LogfmtFormat),
        ("json", True, True, LogrusJson),
        ("auto", False, True, JsonFormat),
        ("default", False, False, JsonFormat),
        ("default", True, False, TextFormat),
        ("auto", True, False, TextFormat),
        ("text", False, False, TextFormat),
        ("json", True, False, JsonFormat),
    ],
)
def test_the_entry_point_decides(format, terminal, containerpilot, lines):
    """As `containerpilot` the three names mean its forms; to `autopilot run` they mean ours, whose default depends on
    the terminal; `auto` is always ours.
    """
    assert type(choose_format(format, terminal=terminal, containerpilot=containerpilot, context={})) is lines


def test_nothing_can_forge_a_line():
    """Control characters of others cannot begin a line of their own, in any form."""
    hidden = "\x7f\x9b2J\x85\u2028\u2029\u202e\u2066"
    evil = f'x\rtime="2026" level=error msg="forged"\x1b[2J{hidden}'
    for lines in (DefaultFormat({}), LogfmtFormat({}), LogrusJson({}), TextFormat(), JsonFormat({})):
        text = lines.format_program_lines({"job": "a", "stream": "stdout", "pid": 1}, [evil])
        assert text.count("\n") == 1
        own = lines.format_entry({"message": evil, "event": "x", "level": "info"})
        assert not {*text, *own} & {*hidden.replace("2J", ""), "\r", "\x1b"}
    assert json.loads(LogrusJson({}).format_program_lines({"job": "a"}, [evil]))["msg"] == evil


def test_logfmt_quotes_as_logrus():
    """Letters, digits and -._/@^+ stand bare, and so does the empty text; all else is quoted."""
    line = LogfmtFormat({}).format_entry(
        {"level": "info", "event": "x", "message": "a b", "path": "/x-y_z@1.0^+", "empty": "", "list": [1]}
    )
    assert line.split(" ", 1)[1] == 'level=info msg="a b" empty= list="[1]" path=/x-y_z@1.0^+'


@pytest.mark.parametrize(
    ("text", "quoted"),
    [
        ('say "hi"', r'"say \"hi\""'),
        ("a\\b", r'"a\\b"'),
        ("\a\b\f\n\r\t\v", r'"\a\b\f\n\r\t\v"'),
        ("\x00\x1b\x7f", r'"\x00\x1b\x7f"'),
        ("ü☃ 😀", '"ü☃ 😀"'),
        ("\x9b\u2028\u202e\xa0", r'"\u009b\u2028\u202e\u00a0"'),
        ("\U000e0001", r'"\U000e0001"'),
    ],
)
def test_values_are_quoted_as_go_quotes_them(text, quoted):
    """A quoted value has the escapes of Go's `%q`."""
    assert quote_like_go(text) == quoted


@pytest.mark.parametrize(
    ("nanoseconds", "text"),
    [
        (1_700_000_000_000_000_000, "2023-11-14T22:13:20Z"),
        (1_700_000_000_500_000_000, "2023-11-14T22:13:20.5Z"),
        (1_700_000_000_000_000_001, "2023-11-14T22:13:20.000000001Z"),
        (1_700_000_000_123_456_000, "2023-11-14T22:13:20.123456Z"),
    ],
)
def test_times_as_go_writes_them(nanoseconds, text, utc):
    """A time has as many digits as it needs, up to nanoseconds."""
    assert format_rfc3339_nano(nanoseconds) == text


def test_an_empty_line_of_a_job():
    """An empty line has no `msg` in `text`, an empty one in `json`, and in `default` the space before it."""
    fields = {"job": "a", "stream": "stdout", "pid": 7}
    (logfmt,) = LogfmtFormat({}).format_program_lines(fields, [""]).splitlines()
    assert logfmt.split(" ", 1)[1] == "level=info job=a pid=7"
    assert json.loads(LogrusJson({}).format_program_lines(fields, [""]))["msg"] == ""
    assert DefaultFormat({}).format_program_lines(fields, [""]).endswith(" job=a pid=7 \n")


def test_json_escapes_as_go():
    """Go's JSON escapes the characters of HTML, and the value stays the same."""
    text = LogrusJson({}).format_program_lines({"job": "a", "pid": 1}, ["<a> & <b>"])
    assert r'"msg":"\u003ca\u003e \u0026 \u003cb\u003e"' in text
    assert json.loads(text)["msg"] == "<a> & <b>"
