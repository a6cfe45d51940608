"""Keep the waits after failed preparing steps: pulls wait for all groups, a check waits for its own group alone.

Two groups may have one image and different checks. A check that fails for one of them says nothing about the other's.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from autopilot_watchdog.config.config_model import Config
from autopilot_watchdog.core.memory import DigestRecord, Memory, StepFailures
from autopilot_watchdog.core.slot_actions import Preflight, Preparation, Pull, Verify


def format_check(step: Verify | Preflight) -> str:
    """Return the name under which a digest's record keeps a check: each group has its own."""
    return f"{type(step).__name__.lower()} {step.group}"


def find_failures(record: DigestRecord, step: Preparation) -> StepFailures:
    """Return the failures in a row of a preparing step, with the time of its next try."""
    if isinstance(step, Pull):
        return StepFailures(record.tries, record.not_before, record.trouble)
    return record.checks_failed.get(format_check(step), StepFailures())


def replace_failures(record: DigestRecord, step: Preparation, failures: StepFailures) -> DigestRecord:
    """Return the record with other failures of a preparing step; those without a try are forgotten."""
    if isinstance(step, Pull):
        return replace(record, tries=failures.tries, not_before=failures.not_before, trouble=failures.trouble)
    if record.tries:  # the image is there, so its pull has gone well since
        record = replace(record, tries=0, not_before=0.0, trouble="")
    name = format_check(step)
    kept = {other: found for other, found in record.checks_failed.items() if other != name}
    return replace(record, checks_failed={**kept, name: failures} if failures.tries else kept)


def list_failures(record: DigestRecord) -> Iterator[StepFailures]:
    """Yield the failures of the pull and of each check that failed last."""
    if record.tries:
        yield StepFailures(record.tries, record.not_before, record.trouble)
    yield from record.checks_failed.values()


def list_next_tries(record: DigestRecord) -> list[float]:
    """Return the epoch seconds of the next tries of all failed steps."""
    return [record.not_before, *(failures.not_before for failures in record.checks_failed.values())]


def forget_failures(record: DigestRecord) -> DigestRecord:
    """Return the record with which every preparing step is tried at once."""
    return replace(record, tries=0, not_before=0.0, checks_failed={})


def clear_next_tries(record: DigestRecord) -> DigestRecord:
    """Return the record with which every preparing step is tried at once, and waits as long as before if it fails."""
    checks = {name: replace(failures, not_before=0.0) for name, failures in record.checks_failed.items()}
    return replace(record, not_before=0.0, checks_failed=checks)


def forget_former_checks(config: Config, memory: Memory) -> Memory:
    """Return the memory without failures of checks that the configuration does not make of the image any more."""
    checks: dict[str, set[str]] = {}  # of each present and former image of a group, and of its canary
    for group in config.slots:
        names = {f"verify {group.name}"} if group.verify is not None else set()
        names |= {f"preflight {group.name}"} if group.preflight is not None else set()
        known = memory.groups.get(group.name)
        for key in {group.image_key, *((*known.former, *known.canaries) if known else ())}:
            checks.setdefault(key, set()).update(names)
    for key, image in memory.images.items():
        present = checks.get(key, set())
        for digest, record in image.records.items():
            if not record.checks_failed.keys() <= present:
                kept = {name: found for name, found in record.checks_failed.items() if name in present}
                image = image.replace_digest_record(digest, replace(record, checks_failed=kept))  # noqa: PLW2901
        if image is not memory.images[key]:
            memory = memory.replace_image(key, image)
    return memory
