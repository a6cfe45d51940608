"""What the control socket is asked, as cues."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Literal
from urllib.parse import unquote

from autopilot.adapters.wire import Answer, Refused
from autopilot.machines.actions import Finish
from autopilot.machines.cues import Asked, Cue

LONGEST = 10 * 365 * 86400  # s
JOB_VERBS = {"start": "start-job", "stop": "stop-job", "restart": "restart-job"}
MAINTENANCE: Mapping[str, Literal["enter-maintenance", "leave-maintenance"]] = {
    "on": "enter-maintenance",
    "off": "leave-maintenance",
}


class Requests:
    """`status` is asked for each GET /v1/status, `record` sets a metric, `reload` takes the job spec anew, `end` is
    done when the life is over."""

    def __init__(
        self,
        *,
        feed: Callable[[Cue], None],
        status: Callable[[], Mapping[str, object]],
        record: Callable[[str, object], None],
        jobs: Collection[str],
        reload: Callable[[bool], Awaitable[Mapping[str, object]]],
        end: asyncio.Future[Finish],
    ) -> None:
        self._feed, self._status, self._record, self._jobs, self._end = feed, status, record, jobs, end
        self._do_reload = reload

    async def handle(self, method: str, path: str, body: Mapping[str, object]) -> Answer:  # noqa: PLR0911 - one for each
        match method, *path.strip("/").split("/"):
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
                return self._metrics(body)
            case "POST", "v1", "jobs", job, verb if verb in JOB_VERBS:
                return self._job(unquote(job), verb)
        raise Refused(404, f"nothing answers to {method} {path}")

    async def _reload(self, *, wait: bool) -> Answer:
        from autopilot.app.reloading import CannotReload

        try:
            return 200, await self._do_reload(wait)
        except CannotReload as cannot:
            raise Refused(422, "\n".join(cannot.reasons)) from None

    def _metrics(self, body: Mapping[str, object]) -> Answer:
        for name, value in body.items():
            try:
                self._record(name, value)
            except ValueError as error:
                raise Refused(400, str(error)) from None
        return 200, {"ok": True}

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
