"""Judge the end of a container from its last words, else from the engine's account.

A verdict is about the image. `neutral` ends tell nothing about it: a renewal, an operator's stop, a SIGKILL from
outside, a crash of the host, a pre-flight gate that waited in vain for something outside the container.
"""

from __future__ import annotations

from dataclasses import dataclass

from autopilot_watchdog.core.observation import Container, LastWords

GOOD, NEUTRAL, FAILED = "good", "neutral", "failed"
# reasons in last words that are no failure
ORDERLY_REASONS = frozenset({"lifetime", "idle", "payloads", "drain", "signal", "completed"})
ALL_PAYLOADS_TAKEN = "payloads"  # the reason of a life that took the payloads it was started for (`lifetime.payloads`)
EXTERNAL_REASONS = frozenset({"preflight"})  # it waited for something outside the image
# 128 + SIGKILL, 128 + SIGTERM; Docker gives 255 after it lost sight of the container
KILLED_EXIT_CODES = frozenset({137, 143, 255})
ORDERLY_EXIT_CODES = (0, 75)  # 75: the drain was forced at its deadline
SIGKILL_EXIT_CODE = 137  # 128 + SIGKILL, as of a first process that the kernel killed for its memory
CUT_SHORT_CODES = frozenset({"killed", "completed"})  # neutral ends that do not last, though the life was long enough
EXCUSED_CODES = EXTERNAL_REASONS | {"host-crashed", "never-started"}  # neutral ends that never count, however many


@dataclass(frozen=True, slots=True)
class ExitVerdict:
    """Judgement on the end of a container: verdict on the image, stable code, sentence for people."""

    verdict: str
    code: str
    sentence: str
    own_fault: bool = False  # it ended by its own doing, with an error
    fulfilled: bool = False  # it ran the payloads that it was started for: however short, it is no early end


def has_proved_good(container: Container, good_after: float, now: float) -> bool:
    """Return True if this living container has proved its image: by its last words, or by its age if it has none."""
    if container.last_words is not None:
        return container.last_words.good
    return container.state == "running" and not container.unhealthy and 0 < container.started <= now - good_after


def judge_exit(container: Container, good_after: float, booted: float) -> ExitVerdict:  # noqa: PLR0911  # one per kind of end
    """Judge a container that is not alive any more.

    Args:
        container: The container, with its last words if it left any.
        good_after: Age in seconds at which an image without last words is good.
        booted: Start of the host's kernel in epoch seconds.
    """
    lived = max(0.0, container.ended - container.started) if container.started else 0.0
    if container.state == "created":
        return ExitVerdict(NEUTRAL, "never-started", f"{container.name} was created and never started")
    end = f"{container.name} ended with status {container.exit_code} after {lived:.0f} s"
    words = container.last_words
    if words is not None and words.state == "ended":
        sentence = f"{end}: {words.reason}{f' ({words.detail})' if words.detail else ''}"
        return _judge_last_words(words, sentence, lasted=lived >= good_after)
    out_of_memory = container.oom_killed and _was_ended_by_kernel(container)
    own_fault = out_of_memory or container.exit_code not in {0, *KILLED_EXIT_CODES}
    if (words is not None and words.good) or (words is None and lived >= good_after and not container.unhealthy):
        if own_fault and lived < good_after:
            code, cause = ("oom", "out of memory") if out_of_memory else ("supervisor-died", "its supervisor died")
            return ExitVerdict(FAILED, code, f"{end}: {cause} soon after it had proved good")
        code = "oom" if out_of_memory else "killed" if words else "ended"
        return ExitVerdict(GOOD, code, f"{end}, after it had proved good", own_fault)
    if out_of_memory:
        return ExitVerdict(FAILED, "oom", f"{end}: out of memory")
    if 0 < container.started < booted:
        return ExitVerdict(NEUTRAL, "host-crashed", f"{end}: the host crashed or was switched off")
    if container.exit_code in KILLED_EXIT_CODES:
        return ExitVerdict(NEUTRAL, "killed", f"{end}: killed from outside")
    if words is not None:
        return ExitVerdict(FAILED, "supervisor-died", f"{end}: its supervisor died without last words")
    return ExitVerdict(FAILED, "exited-early", f"{end}, before it had proved good")


def _was_ended_by_kernel(container: Container) -> bool:
    """Return True if the lack of memory ended the container, and not only a process in it before somebody ended it."""
    if container.exit_code == SIGKILL_EXIT_CODE:
        return not container.stop_asked
    return container.exit_code not in KILLED_EXIT_CODES


def _is_fulfilled(words: LastWords) -> bool:
    """Return True if a life took all its payloads, and one of them ended by itself and did not fail at once.

    A life whose payloads were evicted, or failed at once, may be one of a node that swallows the queue: repeated, it is
    as suspicious as any other short life.
    """
    took_all = words.reason == ALL_PAYLOADS_TAKEN and words.exit_code == 0
    return took_all and words.payloads_finished > words.payloads_failed_fast


def _judge_last_words(words: LastWords, sentence: str, *, lasted: bool) -> ExitVerdict:
    orderly = words.reason in ORDERLY_REASONS and words.exit_code in ORDERLY_EXIT_CODES
    own_fault = words.reason not in ORDERLY_REASONS | EXTERNAL_REASONS | {"killed", "host-crashed"}
    if _is_fulfilled(words):
        return ExitVerdict(GOOD, words.reason, sentence, fulfilled=True)
    if words.good and own_fault and not lasted:
        return ExitVerdict(FAILED, words.reason, f"{sentence}, soon after it had proved good")
    if words.good:
        return ExitVerdict(GOOD, words.reason, sentence, own_fault)
    if words.reason in EXTERNAL_REASONS or orderly:
        return ExitVerdict(NEUTRAL, words.reason, sentence)
    return ExitVerdict(FAILED, words.reason or "exited-early", sentence)
