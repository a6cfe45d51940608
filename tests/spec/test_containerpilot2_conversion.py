"""A configuration of ContainerPilot 2 becomes a job spec that means the same, and tells of the rest."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autopilot.spec import SpecError, load_text
from autopilot.spec.conversion.conversion_notes import Conversion
from autopilot.spec.conversion.converting import CONTAINERPILOT2, SUPERVISORD, convert_containerpilot2_text, find_kind
from autopilot.spec.parsing import parse
from tests.property_examples import scale_examples

SPOOLER = {
    "consul": "consul.example:8500",
    "preStart": ["/opt/spooler/prepare", "--once"],
    "preStop": "/opt/spooler/leave",
    "postStop": "/opt/spooler/sweep",
    "stopTimeout": 20,
    "logging": {"level": "DEBUG", "format": "json", "output": "stderr"},
    "services": [
        {
            "name": "spooler",
            "port": 7070,
            "health": "/opt/spooler/ask now",
            "poll": 7,
            "ttl": 21,
            "timeout": "3s",
            "tags": ["blue", "v4"],
            "interfaces": ["eth1", "inet"],
            "consul": {"enableTagOverride": True, "deregisterCriticalServiceAfter": "1h"},
        }
    ],
    "backends": [{"name": "ledger", "poll": 9, "onChange": "/opt/spooler/reload", "tag": "blue", "timeout": "4s"}],
    "coprocesses": [
        {"name": "shipper", "command": ["/opt/ship", "-f"], "restarts": "unlimited"},
        {"command": "/usr/bin/python3 /opt/tail.py --all"},
    ],
    "tasks": [
        {"name": "rotate", "command": "/opt/rotate", "frequency": "90s", "timeout": "20s"},
        {"command": ["/opt/count.sh"], "frequency": "1500ms"},
    ],
    "telemetry": {
        "port": 9191,
        "interfaces": ["inet"],
        "tags": ["metrics"],
        "sensors": [
            {
                "namespace": "spool",
                "subsystem": "disk",
                "name": "free",
                "help": "free bytes",
                "type": "gauge",
                "poll": 15,
                "check": ["/opt/measure", "free space"],
            }
        ],
    },
}


def convert(document: Any, *words: str, env: dict[str, str] | None = None, render: bool = False) -> Conversion:
    text = document if isinstance(document, str) else json.dumps(document, indent=1)
    return convert_containerpilot2_text(text, "old.json", env or {}, words or ("/opt/spooler/run",), render=render)


def read(conversion: Conversion, **env: str) -> dict[str, Any]:
    """Return the keys of the job spec that the conversion wrote, after checking it."""
    loaded = load_text(conversion.text, env=env, runs_here=False)
    value: dict[str, Any] = parse(loaded.rendered_text).value
    return value


def get_job(spec: dict[str, Any], name: str) -> dict[str, Any]:
    (job,) = (job for job in spec["jobs"] if job["name"] == name)
    assert isinstance(job, dict)
    return job


def list_warnings(conversion: Conversion) -> list[str]:
    return [str(warning).removeprefix("old.json:") for warning in conversion.warnings]


def test_each_section() -> None:
    """Each section of version 2 has its form in the job spec."""
    spec = read(convert(SPOOLER, "/opt/spooler/run", "--port", "7070"))
    after_prestart = {"source": "preStart", "once": "exitSuccess"}
    assert get_job(spec, "preStart") == {"name": "preStart", "exec": ["/opt/spooler/prepare", "--once"]}
    assert get_job(spec, "spooler") == {
        "name": "spooler",
        "exec": ["/opt/spooler/run", "--port", "7070"],
        "essential": True,
        "when": after_prestart,
        "logging": {"raw": True},
        "port": 7070,
        "tags": ["blue", "v4"],
        "interfaces": ["eth1", "inet"],
        "consul": {"enableTagOverride": True, "deregisterCriticalServiceAfter": "1h"},
        "health": {"exec": "/opt/spooler/ask now", "interval": 7, "ttl": 21, "timeout": "3s"},
        "stop": {"timeout": 20},
        "stopTimeout": 60,
    }
    assert get_job(spec, "preStop")["when"] == {"source": "spooler", "once": "stopping"}
    assert get_job(spec, "postStop")["when"] == {"source": "spooler", "once": "stopped"}
    assert get_job(spec, "shipper") == {
        "name": "shipper",
        "exec": ["/opt/ship", "-f"],
        "restarts": "unlimited",
        "when": after_prestart,
    }
    assert get_job(spec, "tail")["restarts"] == "never"
    assert spec["watches"] == [{"name": "ledger", "interval": 9, "tag": "blue"}]
    assert get_job(spec, "onChange-ledger") == {
        "name": "onChange-ledger",
        "exec": "/opt/spooler/reload",
        "when": {"source": "watch.ledger", "each": "changed"},
        "timeout": "4s",
    }
    assert get_job(spec, "rotate") == {
        "name": "rotate",
        "exec": "/opt/rotate",
        "when": {"interval": "90s"},
        "timeout": "20s",
    }
    assert get_job(spec, "count")["timeout"] == "1500ms"
    sensor = get_job(spec, "sensor-spool_disk_free")
    assert sensor["exec"][3:] == ["spool_disk_free", "/opt/measure", "free space"]
    assert "containerpilot -putmetric" in sensor["exec"][2] and sensor["when"] == {"interval": 15}
    assert spec["telemetry"] == {
        "port": 9191,
        "interfaces": ["inet"],
        "tags": ["metrics"],
        "metrics": [{"namespace": "spool", "subsystem": "disk", "name": "free", "help": "free bytes", "type": "gauge"}],
    }
    assert spec["consul"] == "consul.example:8500" and spec["logging"] == SPOOLER["logging"]
    assert spec["stopTimeout"] == 20 + 60 + 60


def test_the_rest_is_told() -> None:
    """A key that cannot be carried over is a warning with its place, and a comment."""
    text = """{
  "etcd": {"endpoints": ["http://etcd:4001"]},
  "services": [
    {"name": "spooler", "port": 7070, "poll": 5, "ttl": 9, "publicIp": true}
  ],
  "tasks": [{"name": "idle", "frequency": "1s"}, 7],
  "backends": {"name": "ledger"},
  "nodes": 3
}"""
    conversion = convert(text)
    assert list_warnings(conversion) == [
        "2:3: etcd: cannot be carried over: Consul is the only registry; run Consul, and write its address as consul",
        "4:60: services[spooler].publicIp: is not carried over: ContainerPilot 2 has no such key",
        "6:13: tasks[idle]: is not carried over: command is missing",
        "6:50: tasks[1]: is not carried over: it is no object",
        "7:3: backends: is not carried over: it is no array",
        "8:3: nodes: is not carried over: ContainerPilot 2 has no such key",
    ]
    comments = " ".join(line.strip().removeprefix("// ") for line in conversion.text.splitlines() if "//" in line)
    for part in ("etcd cannot be", "publicIp is not", "tasks[idle]: is not", "backends: is not", "nodes: is not"):
        assert part in comments
    assert [job["name"] for job in read(conversion)["jobs"]] == ["spooler"]


def test_the_main_command_is_named_or_asked_for() -> None:
    """Without a main command the job spec has a word to replace, and a warning tells how."""
    conversion = convert_containerpilot2_text('{"consul": "c:8500", "services": []}', "old.json", {})
    assert get_job(read(conversion), "main")["exec"] == ["MAIN-COMMAND"]
    assert "or convert again with `-- COMMAND ARGUMENT...`" in list_warnings(conversion)[0]
    assert list_warnings(convert({"services": []}, "cat", "a b {{", '"')) == []
    assert get_job(read(convert({"services": []}, "cat", "a b {{", '"')), "main")["exec"] == ["cat", "a b {{", '"']


def test_several_services() -> None:
    """Several services of the main command are jobs of their own, without a process; equal names are told apart."""
    services = [{"name": "web", "port": port, "health": "true", "poll": 5, "ttl": 9} for port in (80, 443)]
    conversion = convert({"preStart": "/prepare", "services": services})
    spec = read(conversion)
    assert [job["name"] for job in spec["jobs"]] == ["preStart", "main", "web", "web-443"]
    assert "exec" not in get_job(spec, "web") and get_job(spec, "web")["when"]["source"] == "preStart"
    assert [warning.path for warning in conversion.warnings] == ["services[web].name"]


@pytest.mark.parametrize(
    ("given", "total", "stop"),
    [({}, None, None), ({"stopTimeout": 9}, 9, {"timeout": 9}), ({"stopTimeout": -1}, None, {"signal": "SIGKILL"})],
)
def test_stop_timeout(given: dict[str, Any], total: int | None, stop: dict[str, Any] | None) -> None:
    """The time from SIGTERM to SIGKILL is that of the main command."""
    spec = read(convert({"services": [], **given}))
    assert (spec.get("stopTimeout"), get_job(spec, "main").get("stop")) == (total, stop)


def test_empty_values_are_absent() -> None:
    """A hook or a list that a template left empty is as if it were not written."""
    empty = {"preStart": "", "preStop": [], "postStop": [""], "backends": [], "tasks": [], "services": []}
    assert [job["name"] for job in read(convert(empty))["jobs"]] == ["main"]


# --- templates ---

TEMPLATE = """{{ $lines := 3 }}{
  "consul": "{{ if .AGENT }}localhost{{ else }}{{ .CONSUL | default "consul" }}{{ end }}:8500",
  "preStart": "/prepare --lines {{ $lines }} {{- .MORE }}",
  "services": [{"name": "{{ .NAME }}", "port": {{ .PORT }}, "health": "/ask {{.NAME}}",
    "poll": 5, "ttl": {{ if .SLOW -}} 60
    {{- else }} 20 {{ end }}, "tags": ["a", {{ if .B }}"b"{{ end }}]}],
  "coprocesses": [
    {{- if .AGENT }}
    {"name": "agent", "command": ["consul", "agent", "-join", "{{ .CONSUL }}"], "restarts": "unlimited"}
    {{- end }} ],
  "backends": [{{ range $i, $name := split "," .BACKENDS }}{{ if $i }},{{ end }}
    {"name": "{{ $name }}", "poll": 5, "onChange": "/reload {{ $name }}"}{{ end }}]
}"""


@pytest.mark.parametrize(
    "env",
    [
        {"NAME": "spooler", "PORT": "80", "BACKENDS": "ledger,mail", "CONSUL": "c1"},
        {"NAME": "other", "PORT": "81", "BACKENDS": "ledger", "AGENT": "1", "SLOW": "1", "B": "1", "MORE": " x"},
    ],
)
def test_a_kept_template_gives_the_same_values(env: dict[str, str]) -> None:
    """A template that is kept gives, with any variables, the values that its rendered text gives."""
    kept, rendered = convert(TEMPLATE, env={}), convert(TEMPLATE, env=env, render=True)
    assert list_warnings(kept)[0].startswith("3:3: preStart: is not waited for by backends")
    assert "{{" not in rendered.text.replace('{{ "{{" }}', "")
    assert read(kept, **env) == read(rendered)


def test_variables_are_named() -> None:
    """The variables that the job spec reads are named in their order."""
    expected = ("AGENT", "CONSUL", "MORE", "NAME", "PORT", "SLOW", "B", "BACKENDS")
    assert convert(TEMPLATE).variables == expected
    assert convert('{"services": [], "preStart": "{{ env "HOME" }} {{ "x.Y" }}"}').variables == ("HOME",)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ('{"services": [],\n{{ if .A }}"preStart": "/x",{{ end }}\n"tasks": []}', "2:1: "),
        ('{"services": [],\n "tasks": {{ .TASKS }}}', "1:1: "),
        ('{"services": [{{ .ALL }}]}', "1:1: "),
        ('{"services": [], "preStart": "{{ if .A }}/x"{{ else }}/y"{{ end }}}', "1:44: "),
        ('{{ define "a" }}x{{ end }}{"services": [], "preStart": "/x"}', "1:1: "),
    ],
)
def test_a_template_that_cannot_be_kept(text: str, place: str) -> None:
    """Actions around keys and sections are rendered, with a warning that names the variables."""
    conversion = convert(text, env={"A": "1", "TASKS": "[]", "ALL": ""})
    (warning,) = list_warnings(conversion)
    assert warning.startswith(f"{place}the template is rendered with ") and "cannot be kept" in warning
    assert "{{" not in conversion.text and read(conversion)["jobs"]


def test_private_characters() -> None:
    """Characters that could be taken for a kept action are written as they were."""
    text = '{"services": [], "preStart": ["{{ .A }}", "\\ue0000\\ue000", "\ue0010\ue001"]}'
    conversion = convert(text, "run", "\ue0020\ue002")
    jobs = read(conversion, A="a")["jobs"]
    assert [job["exec"] for job in jobs] == [["a", "\ue0000\ue000", "\ue0010\ue001"], ["run", "\ue0020\ue002"]]


@pytest.mark.parametrize(
    "document",
    [
        {"backends": [{"name": "a", "tag": ["x"], "poll": 1, "onChange": "x"}] * 2},
        {"services": [{"name": "a", "port": {}, "poll": 1}] * 2},
        {
            "services": [{"name": "a", "port": None}],
            "stopTimeout": {},
            "telemetry": {"sensors": [{"name": 3, "check": 1}]},
        },
    ],
)
def test_wrong_types(document: dict[str, Any]) -> None:
    """A value of another type is left to the checker, which names it."""
    assert convert(document).text


def test_comments_of_templates() -> None:
    """Template actions in comments of the job spec are not rendered, whatever they hold."""
    conversion = convert('{"services": [], "x{{ .A }}": 1, "tasks": [{"frequency": "{{ .F }}"}]}', env={})
    assert read(conversion, A="\n}}", F="\n")["jobs"]


@pytest.mark.parametrize(
    "text", ['{"services": [}', '{"services": ["}', '{"services": "{{ .X"}', "{{ end }}{}", "[", "7,"]
)
def test_a_broken_file_is_named(text: str) -> None:
    """A text that is neither JSON5 nor a template is a problem with its place."""
    with pytest.raises(SpecError) as caught:
        convert(text)
    assert all(problem.line == 1 for problem in caught.value.problems)


# --- kinds ---


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ('{"services": []}', CONTAINERPILOT2),
        ("// x\n{coprocesses: []}", CONTAINERPILOT2),
        ('{{ $a := 1 }}{"preStart": ""}', CONTAINERPILOT2),
        ('{ {{ if .A }}"consul": "c:1",{{ end }} "tasks": []}', CONTAINERPILOT2),
        ('{"consul": "jobs: 1"}', CONTAINERPILOT2),
        ("; x\n[program:web]\ncommand=x", SUPERVISORD),
        ("[supervisord]\nnodaemon=true", SUPERVISORD),
    ],
)
def test_kinds(text: str, kind: str) -> None:
    """The kind of a configuration is found by its content."""
    assert find_kind(text, "x") == kind


@pytest.mark.parametrize(
    ("text", "words"),
    [('{"jobs": []}', "it is a job spec already"), ("a: b", "name its kind with --from"), ("{}", "--from")],
)
def test_other_kinds(text: str, words: str) -> None:
    """A job spec and unknown texts are refused with the remedy."""
    with pytest.raises(SpecError, match=words):
        find_kind(text, "x")


# --- properties ---

_WORDS = st.one_of(
    st.text(max_size=8),
    st.sampled_from(
        ["web", "/bin/true", "a b", "{{ .A }}", "{{ if .A }}x{{ end }}", "{{", '"', "watch.x", "SIGHUP", "\\"]
    ),
)
_VALUES = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(-5, 70000), st.floats(allow_nan=False, allow_infinity=False), _WORDS
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(_WORDS, inner, max_size=3)),
    max_leaves=5,
)
_ITEM_KEYS = (
    *("name", "port", "health", "poll", "ttl", "tags", "interfaces", "consul", "timeout", "onChange", "tag"),
    *("command", "restarts", "frequency", "namespace", "type", "check", "help"),
)
_ITEMS = st.one_of(_VALUES, st.dictionaries(st.sampled_from(_ITEM_KEYS), _VALUES, max_size=6))
_SECTIONS = st.one_of(
    _VALUES, st.lists(_ITEMS, max_size=3), st.fixed_dictionaries({"sensors": st.lists(_ITEMS, max_size=2)})
)
_TOP_KEYS = (
    *("services", "backends", "coprocesses", "tasks", "telemetry", "preStart", "onStart", "preStop", "postStop"),
    *("stopTimeout", "logging", "consul", "etcd", "other"),
)


@settings(max_examples=scale_examples(50), deadline=None)
@given(st.dictionaries(st.sampled_from(_TOP_KEYS), _SECTIONS, max_size=7))
def test_any_document(document: dict[str, Any]) -> None:
    """Any document is converted or refused, and the checker accepts the result or names the problem in it."""
    try:
        conversion = convert(json.dumps(document))
    except SpecError as error:
        assert error.problems
        return
    try:
        load_text(conversion.text, env={"A": "1"}, runs_here=False)
    except SpecError as error:
        assert all(problem.line for problem in error.problems), conversion.text


@settings(max_examples=scale_examples(50), deadline=None)
@given(
    st.lists(
        st.sampled_from(
            [
                *("{", "}", "[", "]", ",", ":", '"', "'", "\\", "1", " ", "\n", "// c\n", "/* c */", '"name"', '"x y"'),
                *("{{ .A }}", "{{- .A -}}", "{{ if .A }}", "{{ else }}", "{{ end }}", "{{ $i }}", "{{/* c */}}"),
                "{{ range $i := loop 2 }}",
            ]
        ),
        max_size=25,
    )
)
def test_any_text(parts: list[str]) -> None:
    """Any text is converted or refused with a sentence; nothing else leaves the converter."""
    try:
        convert('{"services": [' + "".join(parts) + "]}", env={"A": "1"})
    except SpecError as error:
        assert error.problems


_NAMES = st.from_regex(r"[a-z][a-z0-9-]{1,10}", fullmatch=True)
_COMMANDS = st.one_of(
    st.lists(
        st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=6), max_size=2
    ).map(lambda words: ["/bin/true", *words]),
    st.just("/bin/true -x"),
)
_SERVICE = st.fixed_dictionaries(
    {
        "name": _NAMES,
        "port": st.integers(1, 65535),
        "health": _COMMANDS,
        "poll": st.integers(1, 60),
        "ttl": st.integers(61, 99),
    },
    optional={"tags": st.lists(_NAMES, max_size=2), "interfaces": st.just(["eth0", "inet"])},
)
_GOOD = st.fixed_dictionaries(
    {"consul": st.just("consul:8500"), "services": st.lists(_SERVICE, max_size=3)},
    optional={
        "preStart": _COMMANDS,
        "preStop": _COMMANDS,
        "postStop": _COMMANDS,
        "stopTimeout": st.integers(-1, 90),
        "backends": st.lists(
            st.fixed_dictionaries(
                {"name": _NAMES, "poll": st.integers(1, 9), "onChange": _COMMANDS}, optional={"tag": _NAMES}
            ),
            max_size=3,
        ),
        "coprocesses": st.lists(
            st.fixed_dictionaries(
                {"command": _COMMANDS},
                optional={"name": _NAMES, "restarts": st.sampled_from(["unlimited", "never", 3])},
            ),
            max_size=3,
        ),
        "tasks": st.lists(
            st.fixed_dictionaries({"command": _COMMANDS, "frequency": st.just("5s")}, optional={"name": _NAMES}),
            max_size=3,
        ),
    },
)


@settings(max_examples=scale_examples(40), deadline=None)
@given(_GOOD)
def test_any_good_document(document: dict[str, Any]) -> None:
    """Any document that ContainerPilot 2 takes becomes a job spec that the checker takes, with a job for each entry."""
    loaded = load_text(convert(document).text, env={}, runs_here=False)
    entries = [item for key in ("backends", "coprocesses", "tasks") for item in document.get(key, ())]
    hooks = [key for key in ("preStart", "preStop", "postStop") if document.get(key)]
    services = document["services"] if len(document["services"]) > 1 else []
    assert len(loaded.plan.jobs) == 1 + len(entries) + len(hooks) + len(services)
