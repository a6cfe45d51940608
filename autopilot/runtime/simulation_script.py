"""Parse and run a script of a life, for `autopilot check --simulate`: one happening on a line.

    run report for 5s exit 1     # each of its runs takes so long, and ends so
    at 10m  exit web 1           # its process ends
    at 1h   check web fails cannot connect
    at 2h   payloads 1.0 2.0     # payloads that run from now on; none without ids
    at 3h   signal SIGTERM
    end 4h

docs/command-line.md describes every line.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from autopilot.errors import AutopilotError
from autopilot.machines import cues
from autopilot.machines.triggers import MANUAL_START_EVENT
from autopilot.runtime.simulated_world import Behaviour, GateBehaviour, SimulatedWorld
from autopilot.spec.plan import Job, Plan
from autopilot.spec.quantities import parse_duration

DEFAULT_TAIL_S = 86400.0  # s that a life goes on after the script's last line, when it names no end
ASSUMED_RUN_S = 1.0  # s that a run of a task takes when the script does not mention it
TERMINATION_SIGNALS, JOB_SIGNALS = ("SIGTERM", "SIGINT"), ("SIGHUP", "SIGUSR2")

Step = Callable[[SimulatedWorld], None]


class ScriptError(AutopilotError):
    """A line of a script that cannot be read; the message has its number."""


@dataclass
class SimulationScript:
    """A parsed script. Moments are seconds from the beginning of the life."""

    plan: Plan
    behaviours: dict[str, Behaviour] = field(default_factory=dict)
    gates: dict[str, GateBehaviour] = field(default_factory=dict)
    assumed_jobs: set[str] = field(default_factory=set)  # tasks that it does not mention: they take ASSUMED_RUN_S
    steps: list[tuple[float, Step]] = field(default_factory=list)
    drain_duration: float | None = None
    drain_ends_with_payloads: bool = True  # a drain is over when no payload runs
    end_time: float | None = None


def _is_task(job: Job) -> bool:
    """Return True for a task: it has no check, is not essential, and is started by events or by the clock."""
    by_events = (
        any(t.event != MANUAL_START_EVENT for t in job.when.triggers)
        or job.when.every is not None
        or job.when.cron is not None
    )
    return by_events and job.health is None and not job.essential


def parse_script(text: str, plan: Plan) -> SimulationScript:
    """Parse a script against a plan.

    Raises:
        ScriptError: A line cannot be read; the first one is reported.
    """
    script = SimulationScript(plan)
    script.assumed_jobs = {job.name for job in plan.jobs if _is_task(job)}
    script.behaviours = {name: _build_run_behaviour(ASSUMED_RUN_S, 0) for name in script.assumed_jobs}
    for number, line in enumerate(text.splitlines(), 1):
        words = line.partition("#")[0].split()
        if words:
            try:
                _parse_line(script, words)
            except (ValueError, IndexError) as error:
                reason = str(error) if isinstance(error, ValueError) else "it ends too soon"
                raise ScriptError(f"line {number}: cannot read {line.strip()!r}: {reason}") from None
    return script


def run_script(script: SimulationScript, seed: int, wall_start: float) -> SimulatedWorld:
    """Run the whole life of a script.

    Args:
        script: The script.
        seed: The seed of all randomness.
        wall_start: The wall clock at its beginning, in seconds since the epoch, for jobs with `cron`.

    Raises:
        TooManyEventsError: The life has too many events.
    """
    world = SimulatedWorld(
        script.plan,
        script.behaviours,
        seed=seed,
        wall_offset=wall_start,
        drain_duration=script.drain_duration,
        drain_ends_with_payloads=script.drain_ends_with_payloads,
        gates=dict(script.gates),
    )
    moment = 0.0
    for moment, step in sorted(script.steps, key=lambda timed: timed[0]):
        world.run(moment)
        if world.finish is None:
            step(world)
    return world.run(script.end_time if script.end_time is not None else moment + DEFAULT_TAIL_S)


# --- one line ---


def _parse_line(script: SimulationScript, words: list[str]) -> None:
    moment = None
    if words[0] == "at":
        moment, words = parse_duration(words[1]), words[2:]
    verb, rest = words[0], words[1:]
    if verb == "end" and moment is None:
        script.end_time = parse_duration(rest[0])
    elif verb == "drain" and moment is None:
        script.drain_ends_with_payloads = False
        script.drain_duration = None if rest == ["never", "ends"] else parse_duration(_expect_word("takes", rest))
    elif verb in BEHAVIOUR_PARSERS:
        _set_behaviour(script, moment, verb, rest)
    elif verb == "gate":
        _set_gate_behaviour(script, moment, rest)
    elif verb in STEP_PARSERS:
        if moment is None:
            raise ValueError(f"say when: at 10m {' '.join(words)}")
        script.steps.append((moment, STEP_PARSERS[verb](script, rest)))
    else:
        verbs = [*BEHAVIOUR_PARSERS, "gate", *STEP_PARSERS, "drain", "end"]
        raise ValueError(f"{verb!r} is none of: {', '.join(verbs)}")


def _set_behaviour(script: SimulationScript, at: float | None, verb: str, rest: list[str]) -> None:
    name, change = _check_job_name(script, rest[0]), BEHAVIOUR_PARSERS[verb](rest[1:])
    if verb == "run":
        script.assumed_jobs.discard(name)

    def step(world: SimulatedWorld) -> None:
        world.behaviours[name] = change(world.behaviours.get(name, Behaviour()))

    if at is None:
        script.behaviours[name] = change(script.behaviours.get(name, Behaviour()))
    else:
        script.steps.append((at, step))


BehaviourChange = Callable[[Behaviour], Behaviour]


def _parse_run(rest: list[str]) -> BehaviourChange:
    status = int(_expect_word("exit", rest[2:])) if len(rest) > 2 else 0
    made = _build_run_behaviour(parse_duration(_expect_word("for", rest)), status)
    return lambda before: replace(before, run_duration=made.run_duration, status=made.status)


def _build_run_behaviour(seconds: float, status: int) -> Behaviour:
    return Behaviour(run_duration=lambda rng: seconds, status=lambda rng: status)


def _set_gate_behaviour(script: SimulationScript, at: float | None, rest: list[str]) -> None:
    name, known = rest[0], [gate.name for gate in script.plan.checks]
    if name not in known:
        raise ValueError(f"there is no check {name!r} before jobs; there are: {', '.join(known) or 'none'}")
    verdict, output = _parse_verdict(rest[1:])
    behaviour = GateBehaviour(check=lambda rng: verdict, output=output)
    if at is None:
        script.gates[name] = behaviour
    else:
        script.steps.append((at, lambda world: world.gates.update({name: behaviour})))


def _parse_verdict(rest: list[str]) -> tuple[bool | None, str]:
    """Return the answer of a check (None: it never answers) and its output."""
    verdicts: dict[str, bool | None] = {"passes": True, "fails": False, "hangs": None}
    if rest[0] not in verdicts:
        raise ValueError(f"a check passes, fails or hangs, not {rest[0]!r}")
    return verdicts[rest[0]], " ".join(rest[1:])


def _parse_check(rest: list[str]) -> BehaviourChange:
    verdict, output = _parse_verdict(rest)
    return lambda before: replace(before, check=lambda rng: verdict, check_output=output)


def _parse_deaf(rest: list[str]) -> BehaviourChange:
    return lambda before: replace(before, ignores_signals=True)


def _expect_word(word: str, rest: list[str]) -> str:
    if rest[0] != word:
        raise ValueError(f"write {word!r} before {rest[0]!r}")
    return rest[1]


def _check_job_name(script: SimulationScript, name: str) -> str:
    names = [job.name for job in script.plan.jobs]
    if name not in names:
        raise ValueError(f"there is no job {name!r}; there are: {', '.join(names)}")
    return name


# --- happenings ---


def _parse_exit(script: SimulationScript, rest: list[str]) -> Step:
    name, status = _check_job_name(script, rest[0]), int(rest[1])

    def step(world: SimulatedWorld) -> None:
        if name in world.live_runs:
            world.schedule(0.0, cues.Exited(name, world.live_runs[name], status))

    return step


def _parse_payloads(script: SimulationScript, rest: list[str]) -> Step:
    observed = cues.PayloadsObserved(tuple(rest))

    def step(world: SimulatedWorld) -> None:
        begun, limit = set(rest) - set(world.core.payloads), world.core.lifetime_plan.payloads
        world.payloads_taken += len(begun)
        if limit is not None and world.payloads_taken > limit:
            raise ScriptError(
                f"cannot begin {', '.join(sorted(begun))} at {world.now:g} s: a life takes {limit} (lifetime.payloads)"
            )
        world.feed(observed)
        if begun:
            world.feed(cues.PayloadsCounted(world.payloads_taken))
        world.complete_drain_if_empty()

    return step


def _parse_signal(script: SimulationScript, rest: list[str]) -> Step:
    name = rest[0]
    if name in TERMINATION_SIGNALS:
        return _build_cue_step(cues.RequestReceived("terminate", name))
    if name in JOB_SIGNALS:
        return _build_cue_step(cues.SignalArrived(name))
    raise ValueError(f"we heed {', '.join(TERMINATION_SIGNALS + JOB_SIGNALS)}, not {name!r}")


def _parse_ask(script: SimulationScript, rest: list[str]) -> Step:
    match rest:
        case ["drain"]:
            return _build_cue_step(cues.RequestReceived("drain", "autopilot drain"))
        case ["drain", deadline]:
            return _build_cue_step(cues.RequestReceived("drain", "autopilot drain", deadline=parse_duration(deadline)))
        case ["stop"]:
            return _build_cue_step(cues.RequestReceived("stop", "autopilot stop"))
        case ["start" | "stop" | "restart" as verb, name]:
            request: Any = f"{verb}-job"
            return _build_cue_step(
                cues.RequestReceived(request, f"autopilot {verb}", job=_check_job_name(script, name))
            )
        case ["maintenance", "on"]:
            return _build_cue_step(cues.RequestReceived("enter-maintenance", "autopilot maintenance on"))
        case ["maintenance", "off"]:
            return _build_cue_step(cues.RequestReceived("leave-maintenance", "autopilot maintenance off"))
    raise ValueError("ask for drain [DEADLINE], stop [JOB], start JOB, restart JOB, maintenance on or off")


def _parse_watch(script: SimulationScript, rest: list[str]) -> Step:
    names = [watch.name for watch in script.plan.watches]
    if rest[0] not in names:
        raise ValueError(f"there is no watch {rest[0]!r}; there are: {', '.join(names) or 'none'}")
    if rest[1] not in ("healthy", "unhealthy"):
        raise ValueError(f"a watched service is healthy or unhealthy, not {rest[1]!r}")
    return _build_cue_step(cues.WatchChanged(rest[0], rest[1] == "healthy"))


def _build_cue_step(cue: cues.Cue) -> Step:
    return lambda world: world.feed(cue)


BEHAVIOUR_PARSERS: dict[str, Callable[[list[str]], BehaviourChange]] = {
    "run": _parse_run,
    "check": _parse_check,
    "deaf": _parse_deaf,
}
STEP_PARSERS: dict[str, Callable[[SimulationScript, list[str]], Step]] = {
    "exit": _parse_exit,
    "payloads": _parse_payloads,
    "signal": _parse_signal,
    "ask": _parse_ask,
    "watch": _parse_watch,
}
