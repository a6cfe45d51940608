"""A supervisord.conf becomes a job spec that means the same, and tells of the rest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autopilot.spec import SpecError, load_text
from autopilot.spec.conversion.conversion_notes import Conversion
from autopilot.spec.conversion.converting import convert_supervisord_text
from autopilot.spec.parsing import parse
from tests.property_examples import scale_examples


def convert(text: str, **env: str) -> Conversion:
    return convert_supervisord_text(text, "/srv/old.conf", env)


def read_jobs(conversion: Conversion, **env: str) -> list[dict[str, Any]]:
    """Return the jobs of the job spec that the conversion wrote, after checking it."""
    loaded = load_text(conversion.text, env=env, runs_here=False)
    jobs: list[dict[str, Any]] = parse(loaded.rendered_text).value["jobs"]
    return jobs


def convert_program(*lines: str, **env: str) -> dict[str, Any]:
    text = "\n".join(
        ["[program:relay]", *(() if any("command" in line for line in lines) else ["command=relay"]), *lines]
    )
    (job,) = read_jobs(convert(text), **env)
    return job


def list_warnings(conversion: Conversion) -> list[str]:
    return [str(warning).removeprefix("/srv/old.conf:") for warning in conversion.warnings]


STOP = {"timeout": "10s", "group": False}


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([], {"exec": "relay", "restarts": "on-failure", "stop": STOP}),
        (["command=/bin/relay -a   -b ; why"], {"exec": "/bin/relay -a -b"}),
        (["command=/bin/relay -a", "  --long 2", "  3"], {"exec": "/bin/relay -a --long 2 3"}),
        (["command=sh -c 'echo \"a b\"; x'"], {"exec": ["sh", "-c", 'echo "a b"; x']}),
        (["command=echo 100%% {{x}}"], {"exec": "echo 100% {{x}}"}),
        (["autorestart=true"], {"restarts": "unlimited"}),
        (["autorestart=False"], {"restarts": None}),
        (["autorestart=unexpected", "exitcodes=0"], {"restarts": "on-failure"}),
        (["autostart=no"], {"when": {"once": "asked"}}),
        (["autorestart=true", "startsecs=45"], {"backoff": {"reset_after": "45s"}}),
        (["stopsignal=int", "stopwaitsecs=90", "stopasgroup=true"], {"stop": {"signal": "SIGINT", "timeout": "90s"}}),
        (["user=daemon", "directory=/srv/x", "umask=027"], {"user": "daemon", "cwd": "/srv/x", "umask": "027"}),
        (['environment=A="1,2",B=\'x "y"\', C=z:/q'], {"env": {"A": "1,2", "B": 'x "y"', "C": "z:/q"}}),
        (["redirect_stderr=true", "stdout_logfile=/dev/fd/1", "stdout_logfile_maxbytes=0"], {"exec": "relay"}),
    ],
)
def test_each_key(lines: list[str], expected: dict[str, Any]) -> None:
    """Each key of a program has its form in the job."""
    job = convert_program(*lines)
    assert job["name"] == "relay" and {key: job.get(key) for key in expected} == expected


def test_expressions() -> None:
    """Variables of the environment stay variables, and what is known now is filled in."""
    job = convert_program(
        "command=%(here)s/%(program_name)s %(ENV_FLAGS)s --of %(host_node_name)s",
        "directory=%(ENV_ROOT)s/x",
        'environment=PLACE="{%(ENV_ROOT)s}"',
        FLAGS="-a -b",
        HOSTNAME="node7",
        ROOT="/r",
    )
    assert job["exec"] == "/srv/relay -a -b --of node7"
    assert (job["cwd"], job["env"]) == ("/r/x", {"PLACE": "{/r}"})


@pytest.mark.parametrize(
    ("command", "warned"), [("x 'a b' %(ENV_B)s", True), ("x 'a b' \"%(ENV_B)s\" c%(ENV_B)s", False)]
)
def test_a_variable_in_an_array_is_one_word(command: str, warned: bool) -> None:
    """A warning tells of a variable that supervisord would split into words, and of no other."""
    warnings = list_warnings(convert(f"[program:relay]\ncommand={command}\n"))
    assert [warning.startswith("2:1: [program:relay] command: has .B as one word now") for warning in warnings] == [
        True
    ] * warned


@pytest.mark.parametrize(("value", "event"), [("true", "startup"), ("1", "startup"), ("false", "asked"), ("", "asked")])
def test_autostart_by_a_variable(value: str, event: str) -> None:
    """A variable that decides about the start still decides when the container starts."""
    assert convert_program("autostart=%(ENV_WITH_RELAY)s", WITH_RELAY=value)["when"] == {"once": event}


def test_several_processes() -> None:
    """A program with several processes is a loop, in which variables of the environment are found."""
    text = (
        "[supervisord]\nenvironment=ZONE=%(ENV_ZONE)s\n"
        "[program:part]\ncommand=part %(process_num)d %(numprocs)s %(ENV_X)s\n"
        "process_name=%(program_name)s_%(process_num)02d\nnumprocs=2\nnumprocs_start=4\n"
        "[program:many]\ncommand=many\nnumprocs=%(ENV_MANY)s\n"
    )
    jobs = read_jobs(convert(text), ZONE="UTC", X="x", MANY="3")
    assert [job["name"] for job in jobs] == ["part_04", "part_05", "many-0", "many-1", "many-2"]
    assert jobs[1]["exec"] == "part 5 2 x" and jobs[1]["env"] == {"ZONE": "UTC"}


def test_priority() -> None:
    """Jobs follow the start order of their programs, and stop in the reverse order; a warning tells the rest."""
    programs = [("late", 300), ("first", 10), ("second", 20), ("plain", None)]
    text = "\n".join(
        f"[program:{name}]\ncommand=x{'' if number is None else f'{chr(10)}priority={number}'}"
        for name, number in programs
    )
    conversion = convert(text)
    orders = [(job["name"], job["stop"].get("order", 0)) for job in read_jobs(conversion)]
    assert orders == [("first", 3), ("second", 2), ("late", 1), ("plain", 0)]
    (warning,) = list_warnings(conversion)
    assert warning.startswith("6:1: [program:first] priority: is carried over to the order of the stop alone")


def test_settings_of_supervisord() -> None:
    """User, umask, environment and log level of [supervisord] are those of the jobs and of the log."""
    text = '[supervisord]\nuser=app\numask=007\nloglevel=debug\nnodaemon=true\nenvironment=A="1",B="2"\n'
    conversion = convert(f"{text}[program:x]\ncommand=x\nenvironment=B=3\n[program:y]\ncommand=y\nuser=daemon\n")
    first, second = read_jobs(conversion)
    assert (first["user"], first["umask"], first["env"]) == ("app", "007", {"A": "1", "B": "3"})
    assert second["user"] == "daemon" and 'logging: {level: "DEBUG"}' in conversion.text
    assert list_warnings(conversion) == []


def test_the_rest_is_told() -> None:
    """A key or section that cannot be carried over is a warning with its place, and a comment."""
    text = """[unix_http_server]
file=/run/s.sock
[inet_http_server]
port=9001
[program:relay]
command=/usr/sbin/condor_master -f
startretries=5
exitcodes=0,2
stdout_logfile=/var/log/relay.log
colour=red
directory=x
[group:all]
programs=relay
[eventlistener:watch]
command=watch --all
events=PROCESS_STATE
[program:empty]
autostart=true
[fcgi-program:f]
command=f
socket=unix:///f
[program:odd]
command=odd %(nothing)s
"""
    conversion = convert(text)
    assert [warning.partition(" is ")[0].partition(" has ")[0] for warning in list_warnings(conversion)] == [
        "3:1: [inet_http_server]:",
        "6:1: [program:relay] command:",
        "7:1: [program:relay] startretries: 5",
        "8:1: [program:relay] exitcodes: 0,2",
        "9:1: [program:relay] stdout_logfile: /var/log/relay.log",
        "10:1: [program:relay] colour:",
        "11:1: [program:relay] directory:",
        "12:1: [group:all]:",
        "14:1: [eventlistener:watch]:",
        "17:1: [program:empty]:",
        "21:1: [fcgi-program:f] socket:",
        "22:1: [program:odd]:",
    ]
    comments = " ".join(line.strip().removeprefix("// ") for line in conversion.text.splitlines() if "//" in line)
    for part in ("colour is not", "[eventlistener:watch] is not", "htcondor: false", "essential: true in the job"):
        assert part in comments
    assert [job["name"] for job in read_jobs(conversion)] == ["relay", "f", "odd"]


def test_included_files(tmp_path: Path) -> None:
    """Programs of included files are taken, and their warnings name their files; a missing file is a warning."""
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "a.conf").write_text("[program:a]\ncommand=%(here)s/a\ncolour=red\n")
    (tmp_path / "more" / "b.conf").write_text("[program:b]\ncommand=b\n")
    main = tmp_path / "main.conf"
    main.write_text("[include]\nfiles = more/*.conf %(ENV_EXTRA)s/c.conf\n")
    conversion = convert_supervisord_text(main.read_text(), str(main), {"EXTRA": "/none"})
    assert [job["exec"] for job in read_jobs(conversion)] == [f"{tmp_path}/more/a", "b"]
    assert [(Path(warning.file).name, warning.line) for warning in conversion.warnings] == [
        ("main.conf", 2),
        ("a.conf", 3),
    ]


@pytest.mark.parametrize(
    ("text", "line"), [("command=x\n[program:x]", 1), ("[program:x]\nfoo\n", 2), ("[program:x]\ncommand=x\n%%%\n", 3)]
)
def test_a_broken_file_is_named(text: str, line: int) -> None:
    """A text that is no supervisord.conf is a problem with its place."""
    with pytest.raises(SpecError) as caught:
        convert(text)
    assert [problem.line for problem in caught.value.problems] == [line]


_VALUES = st.one_of(
    st.text(max_size=10),
    st.sampled_from(
        [
            *(
                "true",
                "0",
                "1",
                "-3",
                "10",
                "x y",
                "'a",
                '"a b" c',
                "A=1,B",
                "A='1'",
                "{{ .X }}",
                "%(ENV_A)s",
                "%",
                "{%(ENV_A)s",
            ),
            *(
                "%(process_num)02d",
                "%(x)s",
                "%(ENV_A)s %(ENV_B-C)s",
                "%(here)s",
                "KILL",
                "TERM",
                "RTMIN+3",
                "\\",
                "99999999999",
            ),
        ]
    ),
)
_KEYS = (
    *("command", "autostart", "autorestart", "exitcodes", "startsecs", "startretries", "stopsignal", "stopwaitsecs"),
    *(
        "stopasgroup",
        "user",
        "umask",
        "directory",
        "environment",
        "priority",
        "numprocs",
        "numprocs_start",
        "process_name",
    ),
    *("stdout_logfile", "loglevel", "port", "other", "files"),
)
_SECTIONS = (
    "program:a",
    "program:b",
    "program:",
    "fcgi-program:a",
    "supervisord",
    "eventlistener:a",
    "group:a",
    "odd",
    "DEFAULT",
)


@settings(max_examples=scale_examples(60), deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(_SECTIONS), st.dictionaries(st.sampled_from(_KEYS), _VALUES, max_size=6)), max_size=4
    )
)
def test_any_file(sections: list[tuple[str, dict[str, str]]]) -> None:
    """Any file is converted or refused, and the checker accepts the result or names the problem in it."""
    text = "\n".join(
        line for name, keys in sections for line in (f"[{name}]", *(f"{key} = {value}" for key, value in keys.items()))
    )
    try:
        conversion = convert(text)
    except SpecError as error:
        assert error.problems
        return
    try:
        load_text(conversion.text, env={"A": "1"}, runs_here=False)
    except SpecError as error:
        assert all(problem.line for problem in error.problems), conversion.text
