"""A script of what happens to a life, for `autopilot check --simulate`: one thing on a line.

    run report for 5s exit 1     # each of its runs takes so long, and ends so
    at 10m  exit web 1           # its process ends
    at 1h   check web fails cannot connect
    at 2h   payloads 1.0 2.0     # what the batch system runs from now on; none without ids
    at 3h   signal SIGTERM
    end 4h

docs/command-line.md has all of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from autopilot.machines import cues
from autopilot.machines.when import ASKED
from autopilot.runtime.world import Behaviour, World
from autopilot.spec.plan import Job, Plan
from autopilot.spec.units import duration

AFTER_LAST = 86400.0  # s that a life is looked at after the script's last line, when it names no end
SHORT = 1.0  # s that a job's run is assumed to take when nothing is said of it and nothing keeps it up
TERMINATE, FOR_JOBS = ("SIGTERM", "SIGINT"), ("SIGHUP", "SIGUSR2")

Step = Callable[[World], None]


class ScriptError(Exception):
    """`line` is what is wrong, with its number."""


@dataclass
class Scenario:
    plan: Plan
    behaviours: dict[str, Behaviour] = field(default_factory=dict)
    assumed: set[str] = field(default_factory=set)  # jobs whose runs are taken to be SHORT: nothing is said of them
    steps: list[tuple[float, Step]] = field(default_factory=list)
    drain_takes: float | None = None
    drain_with_payloads: bool = True  # a drain is over when no payload runs any more
    end: float | None = None


def _ends_by_itself(job: Job) -> bool:
    """A task, not a service: it has no check, is not essential, and is run by events or the clock, or once."""
    by_events = (
        any(t.event != ASKED for t in job.when.triggers) or job.when.every is not None or job.when.cron is not None
    )
    return by_events and job.health is None and not job.essential


def parse(text: str, plan: Plan) -> Scenario:
    """Raises ScriptError for the first line that is wrong."""
    scenario = Scenario(plan)
    scenario.assumed = {job.name for job in plan.jobs if _ends_by_itself(job)}
    scenario.behaviours = {name: _for(SHORT, 0) for name in scenario.assumed}
    for number, line in enumerate(text.splitlines(), 1):
        words = line.partition("#")[0].split()
        if words:
            try:
                _read(scenario, words)
            except (ValueError, IndexError) as error:
                said = str(error) if isinstance(error, ValueError) else "it ends too soon"
                raise ScriptError(f"line {number}: cannot read {line.strip()!r}: {said}") from None
    return scenario


def play(scenario: Scenario, seed: int, wall: float) -> World:
    """The whole life; `wall`: when it begins, in seconds since the epoch, for jobs with `cron`. Raises Endless."""
    world = World(
        scenario.plan,
        scenario.behaviours,
        seed=seed,
        ahead=wall,
        drain_takes=scenario.drain_takes,
        drain_with_payloads=scenario.drain_with_payloads,
    )
    moment = 0.0
    for moment, step in sorted(scenario.steps, key=lambda timed: timed[0]):
        world.run(moment)
        if world.finish is None:
            step(world)
    return world.run(scenario.end if scenario.end is not None else moment + AFTER_LAST)


# --- one line ---


def _read(scenario: Scenario, words: list[str]) -> None:
    moment = None
    if words[0] == "at":
        moment, words = duration(words[1]), words[2:]
    verb, rest = words[0], words[1:]
    if verb == "end" and moment is None:
        scenario.end = duration(rest[0])
    elif verb == "drain" and moment is None:
        scenario.drain_with_payloads = False
        scenario.drain_takes = None if rest == ["never", "ends"] else duration(_after("takes", rest))
    elif verb in BEHAVIOURS:
        _behave(scenario, moment, verb, rest)
    elif verb in HAPPENINGS:
        if moment is None:
            raise ValueError(f"say when: at 10m {' '.join(words)}")
        scenario.steps.append((moment, HAPPENINGS[verb](scenario, rest)))
    else:
        raise ValueError(f"{verb!r} is none of: {', '.join([*BEHAVIOURS, *HAPPENINGS, 'drain', 'end'])}")


def _behave(scenario: Scenario, moment: float | None, verb: str, rest: list[str]) -> None:
    name, change = _job(scenario, rest[0]), BEHAVIOURS[verb](rest[1:])
    if verb == "run":
        scenario.assumed.discard(name)

    def step(world: World) -> None:
        world.behaviours[name] = change(world.behaviours.get(name, Behaviour()))

    if moment is None:
        scenario.behaviours[name] = change(scenario.behaviours.get(name, Behaviour()))
    else:
        scenario.steps.append((moment, step))


Change = Callable[[Behaviour], Behaviour]


def _run(rest: list[str]) -> Change:
    status = int(_after("exit", rest[2:])) if len(rest) > 2 else 0
    made = _for(duration(_after("for", rest)), status)
    return lambda before: replace(before, runs_for=made.runs_for, status=made.status)


def _for(seconds: float, status: int) -> Behaviour:
    return Behaviour(runs_for=lambda rng: seconds, status=lambda rng: status)


def _check(rest: list[str]) -> Change:
    verdicts: dict[str, bool | None] = {"passes": True, "fails": False, "hangs": None}
    if rest[0] not in verdicts:
        raise ValueError(f"a check passes, fails or hangs, not {rest[0]!r}")
    verdict, output = verdicts[rest[0]], " ".join(rest[1:])
    return lambda before: replace(before, check=lambda rng: verdict, check_says=output)


def _deaf(rest: list[str]) -> Change:
    return lambda before: replace(before, deaf=True)


def _after(word: str, rest: list[str]) -> str:
    if rest[0] != word:
        raise ValueError(f"write {word!r} before {rest[0]!r}")
    return rest[1]


def _job(scenario: Scenario, name: str) -> str:
    names = [job.name for job in scenario.plan.jobs]
    if name not in names:
        raise ValueError(f"there is no job {name!r}; there are: {', '.join(names)}")
    return name


# --- what happens at its time ---


def _exit(scenario: Scenario, rest: list[str]) -> Step:
    name, status = _job(scenario, rest[0]), int(rest[1])

    def step(world: World) -> None:
        if name in world.live:
            world.after(0.0, cues.Exited(name, world.live[name], status))

    return step


def _payloads(scenario: Scenario, rest: list[str]) -> Step:
    seen = cues.PayloadsSeen(tuple(rest))

    def step(world: World) -> None:
        world.feed(seen)
        world.let_the_drain_end()

    return step


def _signal(scenario: Scenario, rest: list[str]) -> Step:
    name = rest[0]
    if name in TERMINATE:
        return _cue(cues.Asked("terminate", name))
    if name in FOR_JOBS:
        return _cue(cues.SignalCame(name))
    raise ValueError(f"we heed {', '.join(TERMINATE + FOR_JOBS)}, not {name!r}")


def _ask(scenario: Scenario, rest: list[str]) -> Step:
    match rest:
        case ["drain"]:
            return _cue(cues.Asked("drain", "autopilot drain"))
        case ["drain", deadline]:
            return _cue(cues.Asked("drain", "autopilot drain", deadline=duration(deadline)))
        case ["stop"]:
            return _cue(cues.Asked("stop", "autopilot stop"))
        case ["start" | "stop" | "restart" as verb, name]:
            asked: Any = f"{verb}-job"
            return _cue(cues.Asked(asked, f"autopilot {verb}", job=_job(scenario, name)))
        case ["maintenance", "on"]:
            return _cue(cues.Asked("enter-maintenance", "autopilot maintenance on"))
        case ["maintenance", "off"]:
            return _cue(cues.Asked("leave-maintenance", "autopilot maintenance off"))
    raise ValueError("ask for drain [DEADLINE], stop [JOB], start JOB, restart JOB, maintenance on or off")


def _watch(scenario: Scenario, rest: list[str]) -> Step:
    names = [watch.name for watch in scenario.plan.watches]
    if rest[0] not in names:
        raise ValueError(f"there is no watch {rest[0]!r}; there are: {', '.join(names) or 'none'}")
    if rest[1] not in ("healthy", "unhealthy"):
        raise ValueError(f"a watched service is healthy or unhealthy, not {rest[1]!r}")
    return _cue(cues.WatchChanged(rest[0], rest[1] == "healthy"))


def _cue(cue: cues.Cue) -> Step:
    return lambda world: world.feed(cue)


BEHAVIOURS: dict[str, Callable[[list[str]], Change]] = {"run": _run, "check": _check, "deaf": _deaf}
HAPPENINGS: dict[str, Callable[[Scenario, list[str]], Step]] = {
    "exit": _exit,
    "payloads": _payloads,
    "signal": _signal,
    "ask": _ask,
    "watch": _watch,
}
