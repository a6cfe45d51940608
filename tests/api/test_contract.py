"""The documented HTTP interface is the one that a running supervisor has."""

from __future__ import annotations

import ast
import http.client
import json
import re
import socket
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate

from autopilot.adapters.logs.journal import MAX_FOLLOWERS
from autopilot.adapters.service_names import TELEMETRY_SERVICE
from autopilot.adapters.telemetry.status_page import MAX_LISTENERS
from autopilot.api.documents import build_documents
from autopilot.api.openapi import build_document
from autopilot.api.operations import OPERATIONS, Interface, Operation
from lab import consul_agents
from tests.app.harness import TIMEOUT_S, SupervisorProcess, eventually, find_free_port, shell

REPOSITORY = Path(__file__).parents[2]
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("contract")]  # one supervisor for most of them

DOCUMENT = build_document()
BY_ID = {operation.id: operation for operation in OPERATIONS}


class Example(NamedTuple):
    """A request, and the status it is answered with."""

    id: str
    status: int
    path: Mapping[str, str] = MappingProxyType({})
    body: Any = None
    query: str = ""
    method: str | None = None  # another than the documented one


RUNNING_EXAMPLES = [
    Example("ping", 200),
    Example("getStatus", 200),
    Example("getPlan", 200),
    Example("drain", 400, body={"deadline": -1}),
    Example("reload", 200),
    Example("reload", 200, body={"wait": True}),
    Example("setMaintenance", 202, {"state": "on"}),
    Example("setMaintenance", 202, {"state": "off"}),
    Example("setMaintenance", 404, {"state": "maybe"}),
    Example("setEnvironment", 200, body={"MODE": "x", "OLD": None}),
    Example("setEnvironment", 400, body={"A=B": "x"}),
    Example("setMetrics", 200, body={"rows": 3, "site_rows": "4.5"}),
    Example("setMetrics", 400, body={"unknown": 1}),
    Example("startJob", 202, {"job": "manual"}),
    Example("startJob", 200, {"job": "manual"}, {"wait": True}),
    Example("startJob", 404, {"job": "nobody"}),
    Example("restartJob", 202, {"job": "restarted"}),
    Example("restartJob", 200, {"job": "restarted"}, {"wait": True}),
    Example("restartJob", 404, {"job": "nobody"}),
    Example("signalJob", 202, {"job": "web"}, {"signal": "CONT", "group": True}),
    Example("signalJob", 400, {"job": "web"}, {"signal": "SIGNONE"}),
    Example("signalJob", 404, {"job": "nobody"}, {"signal": "CONT"}),
    Example("signalJob", 409, {"job": "once"}, {"signal": "CONT"}),
    Example("stopJob", 202, {"job": "manual"}),
    Example("stopJob", 200, {"job": "manual"}, {"wait": True}),
    Example("stopJob", 404, {"job": "nobody"}),
    Example("getLogs", 200),
    Example("getLogs", 200, query="n=1&follow=0"),
    Example("getJobLogs", 200, {"job": "once"}),
    Example("getJobLogs", 404, {"job": "nobody"}),
    Example("getEvents", 200),
    Example("pingAsContainerPilot", 200),
    Example("pingAsContainerPilot", 200, method="PUT"),
    *(
        example
        for id in ("setEnvironmentAsContainerPilot", "setEnvAsContainerPilot")
        for example in (
            Example(id, 200, body={"MODE": "x", "OLD": ""}),
            Example(id, 400, body={"A=B": "x"}),
            Example(id, 405, method="GET"),
            Example(id, 422, body={"A": 1}),
        )
    ),
    Example("setMetricsAsContainerPilot", 200, body={"site_rows": 3}),
    Example("setMetricsAsContainerPilot", 400, body={"unknown": 1}),
    Example("setMetricsAsContainerPilot", 405, method="GET"),
    Example("setMetricsAsContainerPilot", 422, body=["no object"]),
    Example("reloadAsContainerPilot", 200),
    Example("reloadAsContainerPilot", 405, method="GET"),
    Example("enableMaintenanceAsContainerPilot", 200),
    Example("enableMaintenanceAsContainerPilot", 405, method="GET"),
    Example("disableMaintenanceAsContainerPilot", 200),
    Example("disableMaintenanceAsContainerPilot", 405, method="GET"),
    Example("getPage", 200),
    Example("getMetrics", 200),
    Example("getStatusAsContainerPilot", 200),
    Example("getStatusAsContainerPilot", 405, method="POST"),
    Example("followStatus", 200),
    Example("getTargets", 503),
]
FULL_EXAMPLES = [  # when as many clients as may follow do so
    Example("startJob", 503, {"job": "web"}, {"wait": True}),
    Example("stopJob", 503, {"job": "web"}, {"wait": True}),
    Example("restartJob", 503, {"job": "web"}, {"wait": True}),
    Example("getLogs", 503, query="follow=1"),
    Example("getJobLogs", 503, {"job": "web"}, query="follow=1"),
    Example("getEvents", 503, query="follow=1"),
]
ENDING_EXAMPLES = [  # one after the other: they end the life
    Example("reload", 422),
    Example("reloadAsContainerPilot", 422),
    Example("getTargets", 404),
    Example("drain", 202, body={"deadline": 3600}),
    Example("stop", 202),
    Example("startJob", 409, {"job": "obstinate"}),
    Example("restartJob", 409, {"job": "obstinate"}),
]
SHOWN_ELSEWHERE = {("waitForEnd", 200), ("getTargets", 200), ("followStatus", 503)}


def build_spec() -> dict[str, Any]:
    metrics = [
        {"name": "rows", "type": "gauge", "help": "Rows."},
        {"namespace": "site", "name": "rows", "type": "counter", "help": "Rows."},
    ]
    return {
        "consul": f"127.0.0.1:{find_free_port()}",  # nobody answers there
        "telemetry": {"port": find_free_port(), "interfaces": ["static:127.0.0.1"], "metrics": metrics},
        "watches": [{"name": "db", "interval": 1}],
        "jobs": [
            {
                "name": "web",
                "exec": ["sleep", "1000"],
                "port": 8080,
                "interfaces": ["static:192.0.2.7"],
                "health": {"exec": shell("echo not yet; exit 1"), "interval": "100ms", "ttl": 5},
            },
            {"name": "manual", "exec": ["sleep", "1000"], "when": {"once": "asked"}},
            {"name": "restarted", "exec": ["sleep", "1000"], "restarts": "unlimited"},
            {"name": "once", "exec": shell("echo out; echo err >&2; exit 3")},
            {"name": "waits", "exec": ["true"], "when": {"source": "watch.db", "once": "healthy"}},
        ],
    }


class Client:
    """Client of both interfaces of one supervisor."""

    def __init__(self, pilot: SupervisorProcess, port: int) -> None:
        self._socket_path, self._port = pilot.state / "autopilot.sock", port

    def open(self, interface: Interface, method: str, target: str, body: Any = None) -> http.client.HTTPResponse:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=TIMEOUT_S)
        try:
            if interface == "control":
                connection.sock = socket.socket(socket.AF_UNIX)
                connection.sock.settimeout(TIMEOUT_S)
                connection.sock.connect(str(self._socket_path))
            connection.request(method, target, body=None if body is None else json.dumps(body))
            return connection.getresponse()
        except OSError:
            connection.close()
            raise

    def open_operation(self, operation: Operation, interface: Interface, example: Example) -> http.client.HTTPResponse:
        target = operation.path.format(**example.path) + (f"?{example.query}" if example.query else "")
        return self.open(interface, example.method or operation.method, target, example.body)

    def is_serving(self) -> bool:
        try:
            self.open("control", "GET", "/v1/ping").close()
            self.open("telemetry", "GET", "/metrics").close()
        except OSError:
            return False
        return True


def check_example(client: Client, example: Example) -> None:
    """Send the request on every interface that has it, and compare its answer with the document."""
    operation = BY_ID[example.id]
    for interface in operation.interfaces:
        with client.open_operation(operation, interface, example) as answer:
            assert answer.status == example.status
            check_answer(operation, answer)


def check_answer(operation: Operation, answer: http.client.HTTPResponse) -> None:
    """Compare an answer with the document."""
    documented = DOCUMENT["paths"][operation.path][operation.method.lower()]["responses"][str(answer.status)]
    ((media_type, content),) = documented["content"].items()
    assert answer.headers["Content-Type"].partition(";")[0] == media_type
    for record in read_records(answer, media_type):
        validate_strictly(record, content["schema"])


def read_records(answer: http.client.HTTPResponse, media_type: str) -> list[Any]:
    """Return the whole answer, every line of one that has lines, or the first event of a stream of events."""
    match media_type:
        case "application/json":
            return [json.loads(answer.read())]
        case "application/x-ndjson":
            records = [json.loads(line) for line in answer.read().splitlines()]
            assert records
            return records
        case "text/event-stream":
            return [json.loads(answer.readline().removeprefix(b"data: "))]
        case _:
            return [answer.read().decode()]


def validate_strictly(value: Any, schema: dict[str, Any]) -> None:
    """Fail unless the value has all that the schema wants, and nothing that the schema does not know."""
    strict = forbid_unknown_fields({**schema, "components": DOCUMENT["components"]})
    Draft202012Validator(strict).validate(value)


def forbid_unknown_fields(schema: Any) -> Any:
    if isinstance(schema, list):
        return [forbid_unknown_fields(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    strict = {key: forbid_unknown_fields(value) for key, value in schema.items()}
    if isinstance(schema.get("properties"), dict) and schema.get("type") == "object":
        strict.setdefault("additionalProperties", False)
    return strict


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    spec = build_spec()
    with SupervisorProcess(tmp_path_factory.mktemp("contract"), spec) as pilot:
        client = Client(pilot, spec["telemetry"]["port"])
        pilot.wait_for_event("once", "ended")
        pilot.wait_for_event("web", "started")
        eventually(client.is_serving, "both interfaces answer")
        yield client


def test_documents_are_fresh() -> None:
    """docs/api.md and docs/openapi.json are what `make api-docs` writes."""
    for name, text in build_documents().items():
        assert (REPOSITORY / "docs" / name).read_text() == text, f"docs/{name} is stale: make api-docs"


def test_document_is_valid() -> None:
    """The document is valid OpenAPI 3.1."""
    validate(DOCUMENT)


def test_every_status_has_an_example() -> None:
    """Every documented operation is requested by a test below, for each of its documented statuses."""
    documented = {
        (operation.id, status) for operation in OPERATIONS for status in (*operation.answers, *operation.errors)
    }
    shown = {(e.id, e.status) for e in (*RUNNING_EXAMPLES, *FULL_EXAMPLES, *ENDING_EXAMPLES)}
    assert documented == shown | SHOWN_ELSEWHERE


@pytest.mark.parametrize("example", RUNNING_EXAMPLES, ids=lambda e: f"{e.id}-{e.status}")
def test_answers(running: Client, example: Example) -> None:
    """A running supervisor answers with the documented status and message, and with no field that is not documented."""
    check_example(running, example)


def test_answers_of_a_full_supervisor(running: Client) -> None:
    """A supervisor that as many clients follow as may answers as documented."""
    with ExitStack() as stack:
        refused = open_until_refused(running, stack, "control", "/v1/events?n=0&follow=1", MAX_FOLLOWERS)
        check_answer(BY_ID["getEvents"], refused)
        for example in FULL_EXAMPLES:
            check_example(running, example)
    with ExitStack() as stack:
        refused = open_until_refused(running, stack, "telemetry", "/v1/stream", MAX_LISTENERS)
        check_answer(BY_ID["followStatus"], refused)


def open_until_refused(
    client: Client, stack: ExitStack, interface: Interface, target: str, limit: int
) -> http.client.HTTPResponse:
    """Open streams until one is refused, and return that answer.

    One that the server is about to count, or has not missed yet, shifts the limit by one or two.
    """
    for _ in range(limit + 5):
        answer = stack.enter_context(client.open(interface, "GET", target))
        if answer.status != http.HTTPStatus.OK:
            return answer
    raise AssertionError(f"{limit + 5} follow {target}")


def test_answers_of_an_ending_supervisor(tmp_path: Path) -> None:
    """A supervisor that is told to end answers as documented, and answers at last those who wait for its end."""
    obstinate = {"name": "obstinate", "exec": shell('trap "" TERM; echo ready; while :; do sleep 0.1; done')}
    port = find_free_port()
    spec = {
        "telemetry": {"port": port, "interfaces": ["static:127.0.0.1"]},
        "jobs": [{**obstinate, "stop": {"timeout": "1h"}}],
        "lifetime": {"max": "1h", "drain": {"exec": ["true"], "until": ["false"]}},
    }
    with SupervisorProcess(tmp_path, spec) as pilot:
        client = Client(pilot, port)
        pilot.wait_for_event("obstinate", "ready")
        eventually(client.is_serving, "both interfaces answer")
        pilot.write_spec({"jobs": [{"name": "wrong"}]})
        for example in ENDING_EXAMPLES:
            check_example(client, example)
        waiting = socket.socket(socket.AF_UNIX)
        waiting.settimeout(TIMEOUT_S)
        waiting.connect(str(pilot.state / "autopilot.sock"))
        waiting.sendall(b"GET /v1/end HTTP/1.1\r\nHost: control\r\n\r\n")
        pilot.send_signal()
        pilot.send_signal()  # hurries
        status, _, rest = b"".join(iter(lambda: waiting.recv(4096), b"")).partition(b"\r\n")
        pilot.wait()
        waiting.close()
    assert status in (b"", b"HTTP/1.1 200 OK")  # the end takes the connection with it, as documented
    if rest:
        validate_strictly(json.loads(rest.partition(b"\r\n\r\n")[2]), {"$ref": "#/components/schemas/Ok"})


@pytest.mark.real("consul")
def test_targets_and_status_with_a_real_consul(tmp_path: Path) -> None:
    """Scrape targets, and the status of a supervisor that a real Consul knows, are as documented."""
    with consul_agents.start_agent() as agent:
        spec = {**build_spec(), "consul": agent.http_address}
        with SupervisorProcess(tmp_path, spec) as pilot:
            client = Client(pilot, spec["telemetry"]["port"])
            eventually(client.is_serving, "both interfaces answer")
            eventually(lambda: bool(agent.get_service_health(TELEMETRY_SERVICE)), "registered")
            check_example(client, Example("getTargets", 200))
            check_example(client, Example("getStatus", 200))


def test_no_path_is_undocumented() -> None:
    """Every path that the code of the servers matches is documented, and so is every path that our clients use."""
    documented = {re.sub(r"\{\w+\}", "*", operation.path) for operation in OPERATIONS}
    served = set(list_control_paths()) | set(list_telemetry_paths())
    assert {path for path in served if not is_documented(path, documented)} == set()
    assert len(served) > 20
    used = {
        match
        for folder in ("cli", "containerpilot")
        for file in (REPOSITORY / "autopilot" / folder).glob("*.py")
        for match in re.findall(r'"(/v[13]/[^"?]*)', file.read_text())
    }
    assert len(used) > 15
    assert {path for path in used if not is_documented(re.sub(r"\{[^}]*\}", "*", path), documented)} == set()


def is_documented(path: str, documented: set[str]) -> bool:
    """Return whether a documented path matches, `*` standing for any one segment on either side."""
    segments = path.split("/")
    for other in documented:
        pairs = list(zip(segments, other.split("/"), strict=False))
        if len(segments) == len(other.split("/")) and all(a == b or "*" in (a, b) for a, b in pairs):
            return True
    return False


def list_control_paths() -> Iterator[str]:
    """Yield the paths in the two match statements of the control socket's server, `*` for a part that is bound."""
    tree = ast.parse((REPOSITORY / "autopilot/app/control_requests.py").read_text())
    for case in (node for node in ast.walk(tree) if isinstance(node, ast.match_case)):
        if isinstance(case.pattern, ast.MatchSequence):
            parts = [list_literals(pattern) for pattern in case.pattern.patterns]
            if any(isinstance(pattern, ast.MatchStar) for pattern in case.pattern.patterns):
                continue  # the other match statement goes on
            if parts[0] in (["GET"], ["POST"]):
                parts = parts[1:]
                prefix = ""
            else:
                prefix = "/v3"
            for path in expand(parts):
                yield f"{prefix}/{path}"


def expand(parts: list[list[str]]) -> list[str]:
    if len(parts) == 1:
        return parts[0]
    return [f"{first}/{rest}" for first in parts[0] for rest in expand(parts[1:])]


def list_literals(pattern: ast.pattern) -> list[str]:
    """Return the strings that a pattern matches, `*` for any."""
    if isinstance(pattern, ast.MatchValue) and isinstance(pattern.value, ast.Constant):
        return [str(pattern.value.value)]
    if isinstance(pattern, ast.MatchOr):
        return [text for option in pattern.patterns for text in list_literals(option)]
    if isinstance(pattern, ast.MatchAs) and pattern.pattern is not None:
        return list_literals(pattern.pattern)
    return ["*"]


def list_telemetry_paths() -> Iterator[str]:
    tree = ast.parse((REPOSITORY / "autopilot/adapters/telemetry/telemetry_adapter.py").read_text())
    for case in (node for node in ast.walk(tree) if isinstance(node, ast.match_case)):
        if isinstance(case.pattern, ast.MatchSequence):
            yield from list_literals(case.pattern.patterns[-1])
