"""How a life went: judged from its last words, else from what the engine says.

A verdict is about the image. `neutral` ends say nothing about it: a renewal, an operator's stop, a SIGKILL from
outside, a host that crashed, a pre-flight gate of the container that waited for something outside in vain.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from autopilot_watchdog.core.observation import Container

GOOD, NEUTRAL, FAILED = "good", "neutral", "failed"
ORDERLY_REASONS = frozenset(
    {"lifetime", "idle", "drain", "signal", "completed"}
)  # last words' reasons that are no failure
EXTERNAL_REASONS = frozenset({"preflight"})  # it waited for something that is not in the image
KILLED_EXIT_CODES = frozenset(
    {137, 143, 255}
)  # 128 + SIGKILL, 128 + SIGTERM; 255: Docker, when it lost sight of the container


@dataclass(frozen=True, slots=True)
class ExitVerdict:
    verdict: str
    code: str
    sentence: str


def has_proved_good(container: Container, good_after: float, now: float) -> bool:
    """Has this living container proved its image? Its supervisor says so; without one, its age does."""
    if container.last_words is not None:
        return container.last_words.good
    return container.state == "running" and 0 < container.started <= now - good_after


def judge_exit(container: Container, good_after: float, booted: float) -> ExitVerdict:  # noqa: PLR0911  # one per kind of end
    """The verdict on a container that is not alive any more."""
    lived = max(0.0, container.ended - container.started) if container.started else 0.0
    if container.state == "created":
        return ExitVerdict(NEUTRAL, "never-started", f"{container.name} was created and never started")
    said = f"{container.name} ended with status {container.exit_code} after {lived:.0f} s"
    words = container.last_words
    if words is not None and words.state == "ended":
        return _judge_last_words(container, f"{said}: {words.reason}{f' ({words.detail})' if words.detail else ''}")
    if (words is not None and words.good) or (words is None and lived >= good_after):
        return ExitVerdict(GOOD, "killed" if words else "ended", f"{said}, having proved good")
    if container.oom_killed:
        return ExitVerdict(FAILED, "oom", f"{said}: out of memory")
    if 0 < container.started < booted:
        return ExitVerdict(NEUTRAL, "host-crashed", f"{said}: the host went down under it")
    if container.exit_code in KILLED_EXIT_CODES:
        return ExitVerdict(NEUTRAL, "killed", f"{said}: killed from outside")
    if words is not None:
        return ExitVerdict(FAILED, "supervisor-died", f"{said}: its supervisor died without a word")
    return ExitVerdict(FAILED, "exited-early", f"{said}, too soon to be good")


def _judge_last_words(container: Container, sentence: str) -> ExitVerdict:
    words = container.last_words
    assert words is not None
    if words.good:
        return ExitVerdict(GOOD, words.reason, sentence)
    if words.reason in EXTERNAL_REASONS or (words.reason in ORDERLY_REASONS and words.exit_code in (0, 75)):
        return ExitVerdict(NEUTRAL, words.reason, sentence)
    return ExitVerdict(FAILED, words.reason or "exited-early", sentence)


def list_dead(containers: Iterable[Container]) -> list[Container]:
    return [container for container in containers if not container.alive]
