"""What the control socket is asked, as cues."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Literal
from urllib.parse import unquote

from autopilot.adapters.wire import Answer, Page, Refused
from autopilot.machines.actions import Finish
from autopilot.machines.cues import Asked, Cue

LONGEST = 10 * 365 * 86400  # s
JOB_VERBS = {"start": "start-job", "stop": "stop-job", "restart": "restart-job"}
MAINTENANCE: Mapping[str, Literal["enter-maintenance", "leave-maintenance"]] = {
    "on": "enter-maintenance",
    "off": "leave-maintenance",
}
POSTED = {"environ", "env", "metric", "reload", "maintenance/enable", "maintenance/disable"}
DONE = Page("text/plain; charset=utf-8", b"\n")  # ContainerPilot's answer to whatever went well


class Requests:
    """`status` is asked for each GET /v1/status, `record` sets a metric, `put_environment` changes what later processes
    get, `reload` takes the job spec anew, `end` is done when the life is over."""

    def __init__(
        self,
        *,
        feed: Callable[[Cue], None],
        status: Callable[[], Mapping[str, object]],
        record: Callable[[str, object], None],
        put_environment: Callable[[Mapping[str, str]], None],
        jobs: Collection[str],
        reload: Callable[[bool], Awaitable[Mapping[str, object]]],
        end: asyncio.Future[Finish],
    ) -> None:
        self._feed, self._status, self._record, self._jobs, self._end = feed, status, record, jobs, end
        self._do_reload, self._put_environment = reload, put_environment

    async def handle(self, method: str, path: str, body: Mapping[str, object]) -> Answer:  # noqa: PLR0911 - one for each
        match method, *path.partition("?")[0].strip("/").split("/"):
            case "GET", "v1", "ping":
                return 200, {"ok": True}
            case "GET", "v1", "status":
                return 200, self._status()
            case "GET", "v1", "end":
                await asyncio.wait([self._end])
                return 200, {"ok": True}
            case "POST", "v1", "drain":
                self._feed(Asked("drain", "autopilot drain", deadline=_seconds(body.get("deadline"))))
                return 202, self._status()
            case "POST", "v1", "stop":
                self._feed(Asked("stop", "autopilot stop"))
                return 202, self._status()
            case "POST", "v1", "maintenance", "on" | "off" as state:
                self._feed(Asked(MAINTENANCE[state], f"autopilot maintenance {state}"))
                return 202, self._status()
            case "POST", "v1", "reload":
                return await self._reload(wait=bool(body.get("wait")))
            case "POST", "v1", "metrics":
                self._metrics(body)
                return 200, {"ok": True}
            case "POST", "v1", "env":
                self._environment(body, 400)
                return 200, {"ok": True}
            case "POST", "v1", "jobs", job, verb if verb in JOB_VERBS:
                return self._job(unquote(job), verb)
            case _, "v3", *what:
                return await self._as_containerpilot(method, what, body)
        raise Refused(404, f"nothing answers to {method} {path}")

    async def _reload(self, *, wait: bool) -> Answer:
        from autopilot.app.reloading import CannotReload

        try:
            return 200, await self._do_reload(wait)
        except CannotReload as cannot:
            raise Refused(422, "\n".join(cannot.reasons)) from None

    async def _as_containerpilot(self, method: str, what: list[str], body: Mapping[str, object]) -> Answer:
        """Its API, with its status codes; a success has no body, but for what a reload has done."""
        if "/".join(what) in POSTED and method != "POST":
            raise Refused(405, f"/v3/{'/'.join(what)} takes a POST")
        match what:
            case ["ping"]:
                pass
            case ["environ" | "env"]:
                self._environment(body, 422)
            case ["metric"]:
                self._metrics(body)
            case ["reload"]:
                return await self._reload(wait=False)
            case ["maintenance", "enable" | "disable" as state]:
                cue = MAINTENANCE["on" if state == "enable" else "off"]
                self._feed(Asked(cue, f"/v3/maintenance/{state}"))
            case _:
                raise Refused(404, f"nothing answers to {method} /v3/{'/'.join(what)}")
        return 200, DONE

    def _environment(self, body: Mapping[str, object], wrong: int) -> None:
        """`wrong`: the status for what is no environment."""
        changes = {}
        for name, value in body.items():
            if not name or "=" in name or "\0" in name:
                raise Refused(400, f"cannot set {name!r}: that is no name of an environment variable")
            if value is not None and (not isinstance(value, str) or "\0" in value):
                raise Refused(wrong, f'{name}: cannot be {type(value).__name__}; write a string, or "" to unset it')
            changes[name] = value or ""
        self._put_environment(changes)

    def _metrics(self, body: Mapping[str, object]) -> None:
        """Each that can be set is set."""
        wrong = []
        for name, value in body.items():
            try:
                self._record(name, value)
            except ValueError as error:
                wrong.append(str(error))
        if wrong:
            raise Refused(400, "; ".join(wrong))

    def _job(self, job: str, verb: str) -> Answer:
        if job not in self._jobs:
            raise Refused(404, f"there is no job {job!r}; there are: {', '.join(self._jobs)}")
        if verb != "stop" and self._status()["shutdown"] != "up":
            raise Refused(409, f"cannot {verb} {job}: everything is being stopped")
        self._feed(Asked(JOB_VERBS[verb], f"autopilot {verb}", job=job))  # type: ignore[arg-type]
        return 202, self._status()


def _seconds(value: object) -> float | None:
    if value is None:
        return None
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= LONGEST:
        return float(value)
    raise Refused(400, f"deadline: cannot be {value!r}, it is a number of seconds, at most {LONGEST}")
