"""Answer the requests on the control socket; most of them become cues for the core."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Literal, Protocol
from urllib.parse import parse_qs, unquote

from autopilot.adapters.http_server import Page, RequestError, Response, build_json_stream, format_json_lines
from autopilot.adapters.logs.journal import MAX_FOLLOWERS, EventEntry, Journal
from autopilot.machines.actions import Finish
from autopilot.machines.cues import Cue, RequestReceived
from autopilot.spec.plan import Plan

if TYPE_CHECKING:
    from autopilot.api.messages import JobStatus, ReloadResult, RunningPlan, Status

MAX_DEADLINE_S = 10 * 365 * 86400
START_CONFIRMATION_S = 0.1  # that a job must run to count as started: by then a missing program is known
JOB_VERBS = {"start": "start-job", "stop": "stop-job", "restart": "restart-job"}
MAINTENANCE_CUES: Mapping[str, Literal["enter-maintenance", "leave-maintenance"]] = {
    "on": "enter-maintenance",
    "off": "leave-maintenance",
}
POST_ONLY_PATHS = {"environ", "env", "metric", "reload", "maintenance/enable", "maintenance/disable"}
CONTAINERPILOT_SUCCESS = Page("text/plain; charset=utf-8", b"\n")  # ContainerPilot's answer to each success


class ControlTarget(Protocol):
    """The running life, as far as requests need it."""

    def feed(self, cue: Cue) -> None:
        """Give `cue` to the core."""
        ...

    def build_status(self) -> Status:
        """Return the answer of `autopilot status`."""
        ...

    def build_plan_answer(self) -> RunningPlan:
        """Return the plan that is followed now."""
        ...

    def get_plan(self) -> Plan:
        """Return the plan that is followed now."""
        ...

    def set_metric(self, name: str, value: object) -> None:
        """Set a metric of the jobs; raise ValueError when that is not possible."""
        ...

    def put_environment(self, changes: Mapping[str, str]) -> None:
        """Set variables of processes that start from now on; "" unsets one."""
        ...

    async def reload(self, *, wait: bool) -> ReloadResult:
        """Read the job spec anew and follow it; raise ReloadError when it is refused."""
        ...


class ControlApi:
    """The requests that a running life answers."""

    def __init__(self, target: ControlTarget, journal: Journal, finished: asyncio.Future[Finish]) -> None:
        """Create the API.

        Args:
            target: The running life.
            journal: Keeps past lines and events.
            finished: Done when the life is over.
        """
        self._target, self._journal, self._finished = target, journal, finished

    async def handle(  # noqa: PLR0911, PLR0912 - one arm for each request
        self, method: str, path: str, body: Mapping[str, object]
    ) -> Response:
        """Return the answer to a request.

        Raises:
            RequestError: It cannot be served.
        """
        path, _, query = path.partition("?")
        match method, *path.strip("/").split("/"):
            case "GET", "v1", "ping":
                return 200, {"ok": True}
            case "GET", "v1", "status":
                return 200, self._target.build_status()
            case "GET", "v1", "plan":
                return 200, self._target.build_plan_answer()
            case "GET", "v1", "end":
                await asyncio.wait([self._finished])
                return 200, {"ok": True}
            case "POST", "v1", "drain":
                self._target.feed(
                    RequestReceived("drain", "autopilot drain", deadline=_parse_seconds(body.get("deadline")))
                )
                return 202, self._target.build_status()
            case "POST", "v1", "stop":
                self._target.feed(RequestReceived("stop", "autopilot stop"))
                return 202, self._target.build_status()
            case "POST", "v1", "maintenance", "on" | "off" as state:
                self._target.feed(RequestReceived(MAINTENANCE_CUES[state], f"autopilot maintenance {state}"))
                return 202, self._target.build_status()
            case "POST", "v1", "reload":
                return await self._reload(wait=bool(body.get("wait")))
            case "POST", "v1", "metrics":
                self._set_metrics(body)
                return 200, {"ok": True}
            case "POST", "v1", "env":
                self._set_environment(body, 400)
                return 200, {"ok": True}
            case "POST", "v1", "jobs", job, "signal":
                return self._signal_job(self._require_job(job), body)
            case "POST", "v1", "jobs", job, verb if verb in JOB_VERBS:
                return await self._run_job_verb(self._require_job(job), verb, wait=body.get("wait") is True)
            case "GET", "v1", "logs":
                return self._read_logs(None, query)
            case "GET", "v1", "logs", job:
                return self._read_logs(self._require_job(job), query)
            case "GET", "v1", "events":
                return self._read_events(query)
            case _, "v3", *segments:
                return await self._answer_containerpilot(method, segments, body)
        raise RequestError(404, f"nothing answers to {method} {path}")

    async def _reload(self, *, wait: bool) -> Response:
        from autopilot.app.plan_reload import ReloadError

        try:
            return 200, await self._target.reload(wait=wait)
        except ReloadError as error:
            raise RequestError(422, "\n".join(error.reasons)) from None

    async def _answer_containerpilot(self, method: str, segments: list[str], body: Mapping[str, object]) -> Response:
        """Answer a request of ContainerPilot's API with its status codes; only a reload's answer has a body."""
        if "/".join(segments) in POST_ONLY_PATHS and method != "POST":
            raise RequestError(405, f"/v3/{'/'.join(segments)} takes a POST")
        match segments:
            case ["ping"]:
                pass
            case ["environ" | "env"]:
                self._set_environment(body, 422)
            case ["metric"]:
                self._set_metrics(body)
            case ["reload"]:
                return await self._reload(wait=False)
            case ["maintenance", "enable" | "disable" as state]:
                cue = MAINTENANCE_CUES["on" if state == "enable" else "off"]
                self._target.feed(RequestReceived(cue, f"/v3/maintenance/{state}"))
            case _:
                raise RequestError(404, f"nothing answers to {method} /v3/{'/'.join(segments)}")
        return 200, CONTAINERPILOT_SUCCESS

    def _set_environment(self, body: Mapping[str, object], status_if_invalid: int) -> None:
        """Change the environment of later processes; `status_if_invalid` is for values of a wrong type."""
        changes = {}
        for name, value in body.items():
            if not name or "=" in name or not _can_be_passed(name):
                raise RequestError(400, f"cannot set {name!r}: it is not a name of an environment variable")
            if value is not None and not isinstance(value, str):
                raise RequestError(
                    status_if_invalid, f'{name}: cannot be {type(value).__name__}; write a string, or "" to unset it'
                )
            if value and not _can_be_passed(value):
                problem = f"{name}: cannot be set: the value holds a NUL or half a surrogate pair"
                raise RequestError(status_if_invalid, problem)
            changes[name] = value or ""
        self._target.put_environment(changes)

    def _set_metrics(self, body: Mapping[str, object]) -> None:
        """Set every valid metric, then raise RequestError that lists the invalid ones."""
        problems = []
        for name, value in body.items():
            try:
                self._target.set_metric(name, value)
            except ValueError as error:
                problems.append(str(error))
        if problems:
            raise RequestError(400, "; ".join(problems))

    def _require_job(self, quoted: str) -> str:
        job, names = unquote(quoted), [job.name for job in self._target.get_plan().jobs]
        if job not in names:
            raise RequestError(404, f"there is no job {job!r}; there are: {', '.join(names)}")
        return job

    async def _run_job_verb(self, job: str, verb: str, *, wait: bool) -> Response:
        """Answer at once (202), or with `wait` when the request has taken effect (200), however long that takes."""
        if verb != "stop" and self._target.build_status()["shutdown"] != "up":
            raise RequestError(409, f"cannot {verb} {job}: everything is being stopped")
        runs = self._get_job_status(job)["runs"]
        request = RequestReceived(JOB_VERBS[verb], f"autopilot {verb}", job=job)  # type: ignore[arg-type]
        if not wait:
            self._target.feed(request)
            return 202, self._target.build_status()
        self._require_follower_capacity()
        with self._journal.add_follower(lambda entry: isinstance(entry, EventEntry)) as follower:
            self._target.feed(request)
            while not _has_taken_effect(verb, self._get_job_status(job), runs) and await follower.wait_for_records():
                pass
            if verb != "stop":
                with suppress(TimeoutError):
                    async with asyncio.timeout(START_CONFIRMATION_S):
                        while self._get_job_status(job)["state"] == "running" and await follower.wait_for_records():
                            pass
        return 200, self._target.build_status()

    def _get_job_status(self, job: str) -> JobStatus:
        for shown in self._target.build_status()["jobs"]:
            if shown["name"] == job:
                return shown
        raise RequestError(404, f"there is no job {job!r} any more: a reload has removed it")

    def _signal_job(self, job: str, body: Mapping[str, object]) -> Response:
        from autopilot.spec.os_names import find_signal_number

        number = find_signal_number(str(body.get("signal")))
        if number is None:
            problem = f"signal: cannot be {body.get('signal')!r}, it is a name such as SIGHUP, or a number such as 1"
            raise RequestError(400, problem)
        if self._get_job_status(job)["pid"] is None:
            raise RequestError(409, f"cannot signal {job}: it does not run")
        group = body.get("group") is True
        self._target.feed(RequestReceived("signal-job", "autopilot signal", job=job, signal=int(number), group=group))
        return 202, self._target.build_status()

    def _read_logs(self, job: str | None, query: str) -> Response:
        count, follow = _parse_window(query)
        if follow:
            self._require_follower_capacity()
            return 200, build_json_stream(self._journal.follow_lines(job, count))
        return 200, format_json_lines(self._journal.get_last_lines(job, count))

    def _read_events(self, query: str) -> Response:
        count, follow = _parse_window(query)
        if follow:
            self._require_follower_capacity()
            return 200, build_json_stream(self._journal.follow_events(count))
        return 200, format_json_lines(self._journal.get_last_events(count))

    def _require_follower_capacity(self) -> None:
        if self._journal.is_full:
            raise RequestError(
                503, f"{MAX_FOLLOWERS} clients follow or wait already; ask again without following or waiting"
            )


def _can_be_passed(text: str) -> bool:
    """Return True for text that a program can be given: without a NUL, and with characters that UTF-8 has."""
    try:
        return b"\0" not in text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return False


def _has_taken_effect(verb: str, job_status: JobStatus, runs_before: int) -> bool:
    """Return True when a request has taken effect, or has failed.

    Args:
        verb: start, stop or restart.
        job_status: The job's part of `autopilot status`.
        runs_before: The job's number of runs when the request came.
    """
    state = job_status["state"]
    if verb == "stop":
        return bool(state == "done")
    if verb == "restart" and job_status["runs"] == runs_before:
        return False
    return state in ("running", "backoff", "resting", "done")


def _parse_window(query: str) -> tuple[int, bool]:
    """Return `n` (the number of past entries) and `follow` of a query string."""
    parameters = {key: values[-1] for key, values in parse_qs(query).items()}
    count = parameters.get("n", "1000000")
    if not count.isascii() or not count.isdigit() or len(count) > 9:
        raise RequestError(400, f"n: cannot be {count!r}, it is a number of lines")
    return int(count), parameters.get("follow") in ("1", "true")


def _parse_seconds(value: object) -> float | None:
    if value is None:
        return None
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= MAX_DEADLINE_S:
        return float(value)
    raise RequestError(400, f"deadline: cannot be {value!r}, it is a number of seconds, at most {MAX_DEADLINE_S}")
