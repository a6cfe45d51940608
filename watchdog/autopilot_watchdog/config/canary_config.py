"""Declare the keys of a group's canary: the slots that take another tag, and the rule that promotes its digest."""

from __future__ import annotations

import re
from dataclasses import dataclass

from autopilot_watchdog.config import value_readers
from autopilot_watchdog.config.config_field import declare_field
from autopilot_watchdog.config.value_readers import InvalidValueError, LifeNeeds

MANUAL = "manual"
_TAG = re.compile(r":[a-zA-Z0-9_][a-zA-Z0-9_.-]{0,127}")


@dataclass(frozen=True, slots=True)
class PromotionRule:
    """Rule by which a canary's digest becomes the group's; without time and evidence only an operator promotes it."""

    after: float = 0.0  # seconds since this host first saw the digest under the canary's tag
    needs: LifeNeeds | None = None  # evidence that it must have, too

    @property
    def is_manual(self) -> bool:
        """True if only an operator's order promotes a digest."""
        return not self.after and self.needs is None


def parse_canary_image(json_value: object) -> str:
    """Check a tag such as ":canary", or an image reference with a tag."""
    text = value_readers.read_text(json_value)
    if _TAG.fullmatch(text):
        return text
    if text.startswith(":"):
        raise InvalidValueError('a tag such as ":canary"')
    return value_readers.parse_image_reference(text)


def parse_promotion(json_value: object) -> PromotionRule:
    """Parse the rule of a promotion."""
    wrong = InvalidValueError(
        '"manual", a duration such as "24h", or evidence such as {"good": 20, "hosts": 2, "after": "6h"}'
    )
    if json_value == MANUAL:
        return PromotionRule()
    try:
        if isinstance(json_value, dict):
            rest = {key: value for key, value in json_value.items() if key != "after"}
            after = value_readers.parse_duration(json_value["after"]) if "after" in json_value else 0.0
            return PromotionRule(after, value_readers.parse_needs(rest))
        rule = PromotionRule(value_readers.parse_duration(json_value))
    except InvalidValueError:
        raise wrong from None
    if rule.is_manual:
        raise wrong
    return rule


@dataclass(frozen=True, slots=True)
class CanaryConfig:
    """Part of a group's slots that takes its image from another tag."""

    image: str = declare_field(
        'the image of the canary slots: a tag of the group\'s repository, such as ":canary", or a whole reference',
        parse_canary_image,
    )
    share: float = declare_field(
        "share of the fleet's slots of this group: hash(host, slot) decides", value_readers.parse_share, default=0.0
    )
    slots: int = declare_field(
        "the first slots of the group on every host", value_readers.read_positive_integer, default=0
    )
    hosts: tuple[str, ...] = declare_field(
        "all slots of the group on these hosts; shell patterns such as wn-0*",
        value_readers.read_string_list,
        default=(),
    )
    promote: PromotionRule = declare_field(
        'what makes the canary\'s digest the group\'s: "manual", a time such as "24h", or evidence such as '
        '{"good": 20, "hosts": 2, "after": "6h"}',
        parse_promotion,
        default=PromotionRule(),
    )
