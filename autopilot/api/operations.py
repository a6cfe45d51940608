"""List every operation of the control socket and of the telemetry port, with its messages and status codes.

`tests/api` sends each of them to a running supervisor, and finds a path that the supervisor answers and this table
lacks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from autopilot.api import messages as m

Interface = Literal["control", "telemetry"]
CONTROL: tuple[Interface, ...] = ("control",)
TELEMETRY: tuple[Interface, ...] = ("telemetry",)

JSON, NDJSON, TEXT, HTML, EVENT_STREAM = (
    "application/json",
    "application/x-ndjson",
    "text/plain",
    "text/html",
    "text/event-stream",
)


@dataclass(frozen=True, slots=True)
class Parameter:
    """Parameter of a path or of a query, with its JSON Schema."""

    name: str
    place: Literal["path", "query"]
    schema: Mapping[str, Any]
    description: str


@dataclass(frozen=True, slots=True)
class Answer:
    """Successful answer: its message type, or None for text. In a stream every record has the message type."""

    description: str
    message: Any = None
    media_type: str = JSON


@dataclass(frozen=True, slots=True)
class Operation:
    """Request that a server answers, with every status it may answer.

    `errors` gives the cause of each status whose body is an `Error`; malformed requests (400), too long ones (413) and
    internal errors (500) may come from every operation and are not repeated.
    """

    interfaces: tuple[Interface, ...]
    method: str
    path: str
    id: str
    summary: str
    answers: Mapping[int, Answer]
    description: str = ""
    parameters: tuple[Parameter, ...] = ()
    request: Any = None  # message type
    request_required: bool = False
    errors: Mapping[int, str] = field(default_factory=dict)


_JOB = Parameter("job", "path", {"type": "string"}, "Name of a job, percent-encoded.")
_WINDOW = (
    Parameter("n", "query", {"type": "integer", "minimum": 0}, "Number of records from the past; all when missing."),
    Parameter(
        "follow", "query", {"type": "string", "enum": ["0", "1", "true", "false"]}, "Send new records as they come."
    ),
)
_STATUS_AFTER = Answer("The request has been accepted; the state before it takes effect.", m.Status)
_DONE = Answer("The request has been carried out.", m.Ok)
_NO_SUCH_JOB = "There is no such job."
_TOO_MANY_FOLLOWERS = "Sixteen clients follow or wait already."
_CONTAINERPILOT_DONE = Answer("The request has been carried out; the body is one line end.", None, TEXT)
_ENVIRONMENT = dict[str, str | None]
_METRICS = dict[str, str | float]


def _define_job_operation(verb: str, summary: str) -> Operation:
    return Operation(
        CONTROL,
        "POST",
        f"/v1/jobs/{{job}}/{verb}",
        f"{verb}Job",
        summary,
        {200: Answer("With `wait`: the job has started or stopped, or has failed to.", m.Status), 202: _STATUS_AFTER},
        parameters=(_JOB,),
        request=m.JobRequest,
        errors={
            404: _NO_SUCH_JOB,
            **({} if verb == "stop" else {409: "Everything is being stopped."}),
            503: _TOO_MANY_FOLLOWERS,
        },
    )


def _define_stream(path: str, id: str, summary: str, record: Any, *parameters: Parameter) -> Operation:
    return Operation(
        CONTROL,
        "GET",
        path,
        id,
        summary,
        {200: Answer("One JSON object on each line, the oldest first.", record | m.LostRecord, NDJSON)},
        parameters=(*parameters, *_WINDOW),
        description="With `follow` the answer ends with the life of the supervisor. A client that reads too slowly"
        " loses records and receives a `LostRecord` in their place.",
        errors={**({404: _NO_SUCH_JOB} if parameters else {}), 503: _TOO_MANY_FOLLOWERS},
    )


CONTROL_OPERATIONS = (
    Operation(CONTROL, "GET", "/v1/ping", "ping", "Check that the supervisor answers", {200: _DONE}),
    Operation(
        (*CONTROL, *TELEMETRY),
        "GET",
        "/v1/status",
        "getStatus",
        "Read the state of the supervisor and its jobs",
        {200: Answer("State of the supervisor.", m.Status)},
    ),
    Operation(
        CONTROL,
        "GET",
        "/v1/plan",
        "getPlan",
        "Read the plan that the supervisor follows",
        {200: Answer("Plan of the supervisor.", m.RunningPlan)},
    ),
    Operation(
        CONTROL,
        "GET",
        "/v1/end",
        "waitForEnd",
        "Wait until the life of the supervisor ends",
        {200: Answer("The life has ended.", m.Ok)},
        description="The supervisor may exit before it has answered: a closed connection means the same.",
    ),
    Operation(
        CONTROL,
        "POST",
        "/v1/drain",
        "drain",
        "End this life peacefully: no new payload starts, running ones finish",
        {202: _STATUS_AFTER},
        request=m.DrainRequest,
        errors={400: "The deadline is not a number of seconds, or is longer than ten years."},
        description="A second drain with another deadline replaces the first deadline.",
    ),
    Operation(CONTROL, "POST", "/v1/stop", "stop", "Stop all jobs in order and end this life", {202: _STATUS_AFTER}),
    Operation(
        CONTROL,
        "POST",
        "/v1/reload",
        "reload",
        "Read the job spec again and apply its changes",
        {200: Answer("The changes have been applied.", m.ReloadResult)},
        request=m.ReloadRequest,
        errors={422: "The job spec has problems, or may not change in a running life. Nothing has changed."},
    ),
    Operation(
        CONTROL,
        "POST",
        "/v1/maintenance/{state}",
        "setMaintenance",
        "Take the services out of the traffic, or return them",
        {202: _STATUS_AFTER},
        parameters=(Parameter("state", "path", {"type": "string", "enum": ["on", "off"]}, "Maintenance state."),),
        errors={404: "The state is neither `on` nor `off`."},
    ),
    Operation(
        CONTROL,
        "POST",
        "/v1/env",
        "setEnvironment",
        "Change the environment of processes that start from now on",
        {200: _DONE},
        request=_ENVIRONMENT,
        request_required=True,
        description='A name with the value "" or null is unset.',
        errors={400: "A name or a value cannot be set. Nothing has changed."},
    ),
    Operation(
        CONTROL,
        "POST",
        "/v1/metrics",
        "setMetrics",
        "Set metrics that the job spec declares",
        {200: _DONE},
        request=_METRICS,
        request_required=True,
        description="Add to a counter, set a gauge, observe a value of a histogram or summary.",
        errors={400: "A metric is not declared, or its value is not a number. All valid ones have been set."},
    ),
    _define_job_operation("start", "Start a job"),
    _define_job_operation("stop", "Stop a job"),
    _define_job_operation("restart", "Restart a job"),
    Operation(
        CONTROL,
        "POST",
        "/v1/jobs/{job}/signal",
        "signalJob",
        "Send a signal to the process of a job",
        {202: _STATUS_AFTER},
        parameters=(_JOB,),
        request=m.SignalRequest,
        request_required=True,
        errors={400: "There is no such signal.", 404: _NO_SUCH_JOB, 409: "The job does not run."},
    ),
    _define_stream("/v1/logs", "getLogs", "Read the last log lines of all jobs", m.LogRecord),
    _define_stream("/v1/logs/{job}", "getJobLogs", "Read the last log lines of a job", m.LogRecord, _JOB),
    _define_stream(
        "/v1/events", "getEvents", "Read the last events, health checks that passed excepted", m.EventRecord
    ),
)


def _define_containerpilot_operation(
    path: str, id: str, summary: str, *, request: Any = None, errors: Mapping[int, str] | None = None
) -> Operation:
    return Operation(
        CONTROL,
        "POST",
        path,
        id,
        summary,
        {200: _CONTAINERPILOT_DONE},
        request=request,
        request_required=request is not None,
        errors={**(errors or {}), 405: "The method is not POST."},
    )


_MALFORMED = "The body is not a JSON object of the expected form."
CONTAINERPILOT_OPERATIONS = (
    Operation(
        CONTROL,
        "GET",
        "/v3/ping",
        "pingAsContainerPilot",
        "Check that the supervisor answers",
        {200: _CONTAINERPILOT_DONE},
        description="Every method is accepted.",
    ),
    *(
        _define_containerpilot_operation(
            f"/v3/{name}",
            id,
            "Change the environment of processes that start from now on",
            request=_ENVIRONMENT,
            errors={400: "A name cannot be set.", 422: _MALFORMED},
        )
        for name, id in (("environ", "setEnvironmentAsContainerPilot"), ("env", "setEnvAsContainerPilot"))
    ),
    _define_containerpilot_operation(
        "/v3/metric",
        "setMetricsAsContainerPilot",
        "Set metrics that the job spec declares",
        request=_METRICS,
        errors={400: "A metric is not declared, or its value is not a number.", 422: _MALFORMED},
    ),
    Operation(
        CONTROL,
        "POST",
        "/v3/reload",
        "reloadAsContainerPilot",
        "Read the job spec again and apply its changes",
        {200: Answer("The changes have been applied.", m.ReloadResult)},
        errors={405: "The method is not POST.", 422: "The job spec has problems. Nothing has changed."},
        description="Unlike ContainerPilot the supervisor answers with the changes, and keeps unchanged jobs.",
    ),
    _define_containerpilot_operation(
        "/v3/maintenance/enable", "enableMaintenanceAsContainerPilot", "Take the services out of the traffic"
    ),
    _define_containerpilot_operation(
        "/v3/maintenance/disable", "disableMaintenanceAsContainerPilot", "Return the services to the traffic"
    ),
)

TELEMETRY_OPERATIONS = (
    Operation(
        TELEMETRY,
        "GET",
        "/",
        "getPage",
        "Show the status page",
        {200: Answer("Page for a browser, kept up to date by `/v1/stream`.", None, HTML)},
    ),
    Operation(
        TELEMETRY,
        "GET",
        "/metrics",
        "getMetrics",
        "Read the metrics",
        {200: Answer("Metrics in the text form of Prometheus.", None, TEXT)},
    ),
    Operation(
        TELEMETRY,
        "GET",
        "/status",
        "getStatusAsContainerPilot",
        "Read the state of the supervisor in ContainerPilot's form",
        {200: Answer("State of the supervisor.", m.TelemetryStatus)},
        errors={405: "The method is not GET."},
    ),
    Operation(
        TELEMETRY,
        "GET",
        "/v1/stream",
        "followStatus",
        "Follow the state of the supervisor",
        {200: Answer("Server-sent events; the data of each is a `PageStatus`.", m.PageStatus, EVENT_STREAM)},
        description="An event comes when something has changed, at most every 0.5 s, and at least every 5.5 s.",
        errors={503: "Sixteen clients follow already."},
    ),
    Operation(
        TELEMETRY,
        "GET",
        "/v1/targets",
        "getTargets",
        "List the telemetry ports of all containers, for Prometheus's HTTP service discovery",
        {200: Answer("Telemetry ports that Consul knows.", list[m.ScrapeTarget])},
        errors={404: "The job spec has no `consul` section.", 503: "Consul does not answer."},
    ),
)

OPERATIONS = (*CONTROL_OPERATIONS, *CONTAINERPILOT_OPERATIONS, *TELEMETRY_OPERATIONS)
