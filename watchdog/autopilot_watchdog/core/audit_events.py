"""Name the events of the audit log: stable ids for machines, beside the sentences for people."""

from __future__ import annotations

from enum import StrEnum

from autopilot_watchdog.core.slot_actions import (
    Action,
    Drain,
    Preflight,
    Pull,
    RemoveContainer,
    RemoveImage,
    ShareGoodLife,
    ShareLives,
    ShareQuarantine,
    Start,
    Verify,
    WithdrawQuarantine,
)


class AuditEvent(StrEnum):
    """Id of an event: the field `event` of an audit entry, and the first word of its line in the journal."""

    PULL = "pull"
    PULL_FAILED = "pull-failed"
    PULL_STUCK = "pull-stuck"
    VERIFY = "verify"
    VERIFY_FAILED = "verify-failed"
    PREFLIGHT = "preflight"
    PREFLIGHT_FAILED = "preflight-failed"
    START = "start"
    START_FAILED = "start-failed"
    REMOVE = "remove"
    REMOVE_FAILED = "remove-failed"
    DRAIN = "drain"
    DRAIN_FAILED = "drain-failed"
    REMOVE_IMAGE = "remove-image"
    REMOVE_IMAGE_FAILED = "remove-image-failed"
    SHARE_QUARANTINE = "share-quarantine"
    SHARE_QUARANTINE_FAILED = "share-quarantine-failed"
    SHARE_GOOD = "share-good"
    SHARE_GOOD_FAILED = "share-good-failed"
    SHARE_GOOD_LIFE = "share-good-life"
    SHARE_GOOD_LIFE_FAILED = "share-good-life-failed"
    SHARE_LIVES = "share-lives"
    SHARE_LIVES_FAILED = "share-lives-failed"
    WITHDRAW_QUARANTINE = "withdraw-quarantine"
    WITHDRAW_QUARANTINE_FAILED = "withdraw-quarantine-failed"
    LAST_WORDS_COMPLETED = "last-words-completed"
    LAST_WORDS_FAILED = "last-words-failed"
    CONTAINER_OUTPUT = "container-output"
    CONTAINER_LOST = "container-lost"
    SLOT = "slot"
    NEW_DIGEST = "new-digest"
    REGISTRY_FAILED = "registry-failed"
    REGISTRY_RECOVERED = "registry-recovered"
    QUARANTINE = "quarantine"
    RELEASE = "release"
    PROMOTE = "promote"
    SUSPECT = "suspect"
    SUSPICION_CONFIRMED = "suspicion-confirmed"
    SUSPICION_LIFTED = "suspicion-lifted"
    CANARY_PROMOTED = "canary-promoted"
    CANARY_ENDED = "canary-ended"
    URGENCY = "urgency"
    ORDER = "order"
    CONFIG_LOADED = "config-loaded"
    CONFIG_REFUSED = "config-refused"
    CONFIG_MOVED = "config-moved"
    PASS_FAILED = "pass-failed"
    METRICS_FAILED = "metrics-failed"
    NOTIFY_FAILED = "notify-failed"


AUDIT_EVENTS = {  # each event with its meaning, for the reference
    AuditEvent.PULL: "an image was pulled",
    AuditEvent.PULL_FAILED: "an image could not be pulled",
    AuditEvent.PULL_STUCK: "an image could not be pulled, verified or pre-flighted several times in a row",
    AuditEvent.VERIFY: "the signature check accepted an image",
    AuditEvent.VERIFY_FAILED: "the signature check refused an image or could not run",
    AuditEvent.PREFLIGHT: "the pre-flight accepted an image",
    AuditEvent.PREFLIGHT_FAILED: "the pre-flight refused an image or could not run",
    AuditEvent.START: "a container was started",
    AuditEvent.START_FAILED: "a container could not be started",
    AuditEvent.REMOVE: "a dead container was removed; `code` and `verdict` tell its end",
    AuditEvent.REMOVE_FAILED: "a dead container could not be removed",
    AuditEvent.DRAIN: "a container was asked to drain",
    AuditEvent.DRAIN_FAILED: "a container could not be asked to drain",
    AuditEvent.REMOVE_IMAGE: "an unused image was removed",
    AuditEvent.REMOVE_IMAGE_FAILED: "an unused image could not be removed",
    AuditEvent.SHARE_QUARANTINE: "a quarantine was told to the fleet",
    AuditEvent.SHARE_QUARANTINE_FAILED: "a quarantine could not be told to the fleet",
    AuditEvent.SHARE_GOOD: "the fleet was told of a good digest",
    AuditEvent.SHARE_GOOD_FAILED: "the fleet could not be told of a good digest",
    AuditEvent.SHARE_GOOD_LIFE: "the fleet was told that a condemned digest lives well here",
    AuditEvent.SHARE_GOOD_LIFE_FAILED: "the fleet could not be told that a condemned digest lives well here",
    AuditEvent.SHARE_LIVES: "the fleet was told the number of good lives of a digest on this host",
    AuditEvent.SHARE_LIVES_FAILED: "the fleet could not be told the number of good lives",
    AuditEvent.WITHDRAW_QUARANTINE: "this host took back its quarantine in the fleet",
    AuditEvent.WITHDRAW_QUARANTINE_FAILED: "this host could not take back its quarantine in the fleet",
    AuditEvent.LAST_WORDS_COMPLETED: "the watchdog completed the last words of a dead supervisor",
    AuditEvent.LAST_WORDS_FAILED: "the last words could not be completed",
    AuditEvent.CONTAINER_OUTPUT: "the last output of a failed container",
    AuditEvent.CONTAINER_LOST: "a container was removed, and not by the watchdog; its end is not known",
    AuditEvent.SLOT: "a slot has another reason code",
    AuditEvent.NEW_DIGEST: "the registry has a new digest",
    AuditEvent.REGISTRY_FAILED: "a registry gave no usable answer",
    AuditEvent.REGISTRY_RECOVERED: "a registry answers again",
    AuditEvent.QUARANTINE: "a digest was quarantined",
    AuditEvent.RELEASE: "a quarantine was lifted",
    AuditEvent.PROMOTE: "another digest is the last good one",
    AuditEvent.SUSPECT: "a digest does worse than the good one before it: its lives or its payloads",
    AuditEvent.SUSPICION_CONFIRMED: "the digest before a suspect one does well since",
    AuditEvent.SUSPICION_LIFTED: "the digest before a suspect one does no better since",
    AuditEvent.CANARY_PROMOTED: "a canary's digest became the group's",
    AuditEvent.CANARY_ENDED: "a promotion of a canary's digest is over: the tag moved, or the digest is quarantined",
    AuditEvent.URGENCY: "the fleet's urgency changed",
    AuditEvent.ORDER: "an operator gave an order",
    AuditEvent.CONFIG_LOADED: "`watch` read the configuration again",
    AuditEvent.CONFIG_REFUSED: "the file of the configuration cannot be used; `watch` keeps the former one",
    AuditEvent.CONFIG_MOVED: "the state folder follows another configuration file: the former was renamed or replaced",
    AuditEvent.PASS_FAILED: "a pass had a problem",
    AuditEvent.METRICS_FAILED: "the metrics could not be written or served",
    AuditEvent.NOTIFY_FAILED: "the site's program could not be told of an event",
}

ACTION_EVENTS: dict[type[Action], tuple[AuditEvent, AuditEvent]] = {  # after a success, after a failure
    Pull: (AuditEvent.PULL, AuditEvent.PULL_FAILED),
    Verify: (AuditEvent.VERIFY, AuditEvent.VERIFY_FAILED),
    Preflight: (AuditEvent.PREFLIGHT, AuditEvent.PREFLIGHT_FAILED),
    Start: (AuditEvent.START, AuditEvent.START_FAILED),
    RemoveContainer: (AuditEvent.REMOVE, AuditEvent.REMOVE_FAILED),
    Drain: (AuditEvent.DRAIN, AuditEvent.DRAIN_FAILED),
    RemoveImage: (AuditEvent.REMOVE_IMAGE, AuditEvent.REMOVE_IMAGE_FAILED),
    ShareQuarantine: (AuditEvent.SHARE_QUARANTINE, AuditEvent.SHARE_QUARANTINE_FAILED),
    ShareGoodLife: (AuditEvent.SHARE_GOOD_LIFE, AuditEvent.SHARE_GOOD_LIFE_FAILED),
    ShareLives: (AuditEvent.SHARE_LIVES, AuditEvent.SHARE_LIVES_FAILED),
    WithdrawQuarantine: (AuditEvent.WITHDRAW_QUARANTINE, AuditEvent.WITHDRAW_QUARANTINE_FAILED),
}


def describe_action(action: Action) -> tuple[AuditEvent, str]:
    """Return the event of an action that succeeds, and a phrase that tells its object."""
    event, _ = ACTION_EVENTS[type(action)]
    if isinstance(action, RemoveContainer):
        return event, f"{action.slot}, {action.sentence} (verdict: {action.verdict})"
    objects = (getattr(action, key, "") for key in ("slot", "image", "digest"))
    return event, ", ".join(name for name in objects if name)
