"""What the control socket is asked, as cues."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping
from contextlib import suppress
from typing import Any, Literal
from urllib.parse import parse_qs, unquote

from autopilot.adapters.journal import FOLLOWERS, Happened, Journal
from autopilot.adapters.wire import Answer, Page, Refused, json_lines, json_stream
from autopilot.machines.actions import Finish
from autopilot.machines.cues import Asked, Cue

LONGEST = 10 * 365 * 86400  # s
FIRST_BREATH = 0.1  # s that a started job must live, to be called started: by then a missing program is known
JOB_VERBS = {"start": "start-job", "stop": "stop-job", "restart": "restart-job"}
MAINTENANCE: Mapping[str, Literal["enter-maintenance", "leave-maintenance"]] = {
    "on": "enter-maintenance",
    "off": "leave-maintenance",
}
POSTED = {"environ", "env", "metric", "reload", "maintenance/enable", "maintenance/disable"}
DONE = Page("text/plain; charset=utf-8", b"\n")  # ContainerPilot's answer to whatever went well


class Requests:
    """`status` is asked for each GET /v1/status, `record` sets a metric, `put_environment` changes what later processes
    get, `plan` is the one that is followed, `reload` takes the job spec anew, `journal` has what was said lately, `end`
    is done when the life is over."""

    def __init__(
        self,
        *,
        feed: Callable[[Cue], None],
        status: Callable[[], Mapping[str, Any]],
        record: Callable[[str, object], None],
        put_environment: Callable[[Mapping[str, str]], None],
        jobs: Collection[str],
        plan: Callable[[], Mapping[str, object]],
        reload: Callable[[bool], Awaitable[Mapping[str, object]]],
        journal: Journal,
        end: asyncio.Future[Finish],
    ) -> None:
        self._feed, self._status, self._record, self._jobs, self._end = feed, status, record, jobs, end
        self._plan, self._do_reload, self._journal = plan, reload, journal
        self._put_environment = put_environment

    async def handle(self, method: str, path: str, body: Mapping[str, object]) -> Answer:  # noqa: PLR0911, PLR0912 - one for each
        path, _, query = path.partition("?")
        match method, *path.strip("/").split("/"):
            case "GET", "v1", "ping":
                return 200, {"ok": True}
            case "GET", "v1", "status":
                return 200, self._status()
            case "GET", "v1", "plan":
                return 200, self._plan()
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
            case "POST", "v1", "jobs", job, "signal":
                return self._signal(self._known(job), body)
            case "POST", "v1", "jobs", job, verb if verb in JOB_VERBS:
                return await self._job(self._known(job), verb, wait=body.get("wait") is True)
            case "GET", "v1", "logs":
                return self._logs(None, query)
            case "GET", "v1", "logs", job:
                return self._logs(self._known(job), query)
            case "GET", "v1", "events":
                return self._events(query)
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

    def _known(self, quoted: str) -> str:
        job = unquote(quoted)
        if job not in self._jobs:
            raise Refused(404, f"there is no job {job!r}; there are: {', '.join(self._jobs)}")
        return job

    async def _job(self, job: str, verb: str, *, wait: bool) -> Answer:
        """Answered at once (202), or when what was asked for is so (200), however long that takes."""
        if verb != "stop" and self._status()["shutdown"] != "up":
            raise Refused(409, f"cannot {verb} {job}: everything is being stopped")
        runs = self._shown(job)["runs"]
        asked = Asked(JOB_VERBS[verb], f"autopilot {verb}", job=job)  # type: ignore[arg-type]
        if not wait:
            self._feed(asked)
            return 202, self._status()
        self._need_room()
        with self._journal.following(lambda entry: isinstance(entry, Happened)) as follower:
            self._feed(asked)
            while not _settled(verb, self._shown(job), runs) and await follower.news():
                pass
            if verb != "stop":
                with suppress(TimeoutError):
                    async with asyncio.timeout(FIRST_BREATH):
                        while self._shown(job)["state"] == "running" and await follower.news():
                            pass
        return 200, self._status()

    def _shown(self, job: str) -> Mapping[str, Any]:
        for shown in self._status()["jobs"]:
            if shown["name"] == job:
                return dict(shown)
        raise Refused(404, f"there is no job {job!r} any more: a reload has removed it")

    def _signal(self, job: str, body: Mapping[str, object]) -> Answer:
        from autopilot.spec.posix import named_signal

        number = named_signal(str(body.get("signal")))
        if number is None:
            said = f"signal: cannot be {body.get('signal')!r}, it is a name such as SIGHUP, or a number such as 1"
            raise Refused(400, said)
        if self._shown(job)["pid"] is None:
            raise Refused(409, f"cannot signal {job}: it does not run")
        group = body.get("group") is True
        self._feed(Asked("signal-job", "autopilot signal", job=job, signal=int(number), group=group))
        return 202, self._status()

    def _logs(self, job: str | None, query: str) -> Answer:
        count, follow = _window(query)
        if follow:
            self._need_room()
            return 200, json_stream(self._journal.follow_lines(job, count))
        return 200, json_lines(self._journal.last_lines(job, count))

    def _events(self, query: str) -> Answer:
        count, follow = _window(query)
        if follow:
            self._need_room()
            return 200, json_stream(self._journal.follow_facts(count))
        return 200, json_lines(self._journal.last_facts(count))

    def _need_room(self) -> None:
        if self._journal.full:
            raise Refused(503, f"{FOLLOWERS} clients follow or wait already; ask again without following or waiting")


def _settled(verb: str, shown: Mapping[str, Any], runs: int) -> bool:
    """What was asked for is so, or has failed. `runs`: how many runs there had been before."""
    state = shown["state"]
    if verb == "stop":
        return bool(state == "done")
    if verb == "restart" and shown["runs"] == runs:
        return False
    return state in ("running", "backoff", "resting", "done")


def _window(query: str) -> tuple[int, bool]:
    """`n` (how many) and `follow` of a query."""
    asked = {key: values[-1] for key, values in parse_qs(query).items()}
    count = asked.get("n", "1000000")
    if not count.isascii() or not count.isdigit() or len(count) > 9:
        raise Refused(400, f"n: cannot be {count!r}, it is a number of lines")
    return int(count), asked.get("follow") in ("1", "true")


def _seconds(value: object) -> float | None:
    if value is None:
        return None
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= LONGEST:
        return float(value)
    raise Refused(400, f"deadline: cannot be {value!r}, it is a number of seconds, at most {LONGEST}")
