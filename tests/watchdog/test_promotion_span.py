"""A promotion begins, holds and ends: by rules, pushes, orders, the fleet, and changes of the configuration."""

from __future__ import annotations

from typing import Any

import pytest
from autopilot_watchdog.core.promotion import list_promotion_waits
from autopilot_watchdog.simulation.simulated_registry import DigestBehaviour

from tests.watchdog.scenes import BEGIN, A, B, C, run_passes
from tests.watchdog.test_canary import (
    HOUR,
    ONE_SLOT,
    build_canary_host,
    list_running,
    renew_all,
)
from tests.watchdog.test_canary_promotion import get_group, run_canary

GROUP = "wn-NN"


@pytest.mark.parametrize("urgency", ["", "now"])
@pytest.mark.parametrize("rule", ["4h", {"good": 2}])
def test_rule_puts_no_canary_over_a_later_push(rule: Any, urgency: str) -> None:
    """A canary whose time or evidence comes after a push to the stable tag is not promoted over that push."""
    host = build_canary_host(
        canary={**ONE_SLOT, "promote": rule},
        stable=[(0, A), (BEGIN + 3 * HOUR, C)],
        behaviours={C: DigestBehaviour(urgency=urgency)},
    )
    now = run_passes(host, run_canary(host), 2 * HOUR)
    for _ in range(3):
        now = renew_all(host, now, 2 * HOUR)
    assert list_running(host) == [C if urgency else B, C, C]
    assert not host.memory.groups[GROUP].promotion.digest
    waits = list(list_promotion_waits(host.config, host.memory, get_group(host), now))
    assert any("a push to the canary's tag after that of" in wait for wait in waits)
