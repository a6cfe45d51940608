"""Ask the collector whether this node is in its pool: local checks pass with a bad token or a dead manager, too.

While the node is in its pool, the collector is asked every five minutes, and at once when the startd's connection to it
is gone. A node that the collector does not know is made to send its ads at once (`condor_reconfig -daemon startd`; by
itself it waits up to 300 s).
"""

from __future__ import annotations

import asyncio
import random
import time

from autopilot.adapters.batch.conditions import Backoff
from autopilot.adapters.batch.htcondor import id_tokens
from autopilot.adapters.batch.htcondor.collector_link import is_connected, parse_collectors
from autopilot.adapters.batch.htcondor.condor_commands import QUERY_TIMEOUT_S
from autopilot.adapters.batch.htcondor.node_state import NodeState

QUERY_INTERVAL_S = 300.0  # while the node is in its pool
MAX_ANSWER_AGE_S = 5.0  # an older answer is not given to a health check
JOIN_PATIENCE_S = 15.0  # for a new startd's first ad


class PoolMembership:
    """The node's membership, by the collector's last answer."""

    def __init__(self, node_state: NodeState) -> None:
        self._node_state = node_state
        self.joined: bool | None = None  # None: not asked yet
        self.explanation = "the collector has not been asked yet"
        self._queried_at = float("-inf")
        self._joined_backoff = Backoff(QUERY_INTERVAL_S, QUERY_INTERVAL_S)
        self._absent_backoff = Backoff(2.0, 15.0)
        self._reconfigure_backoff = Backoff(10.0, 300.0)

    def reset(self) -> None:
        """Forget the last answer: a new startd has to join anew."""
        self.joined = None
        self._joined_backoff, self._absent_backoff = self._joined_backoff.reset(), self._absent_backoff.reset()

    async def query_if_due(self, draw: float) -> None:
        """Ask when it is time or the startd lost its connection; `draw` in 0..1 spreads the next question."""
        now = asyncio.get_running_loop().time()
        backoff = self._joined_backoff if self.joined else self._absent_backoff
        if backoff.is_due(now) or (self.joined and self._is_disconnected()):
            await self.query(QUERY_TIMEOUT_S, draw)

    def _is_disconnected(self) -> bool:
        pid = self._node_state.daemons.startd
        ports = frozenset(port for _, port in parse_collectors(self._node_state.settings.get("COLLECTOR_HOST", "")))
        return pid is not None and bool(ports) and is_connected(pid, ports) is False

    async def check(self, timeout: float) -> tuple[bool, str]:
        """Return whether the node is in its pool, and one sentence; the answer is at most MAX_ANSWER_AGE_S old."""
        if asyncio.get_running_loop().time() - self._queried_at > MAX_ANSWER_AGE_S:
            await self.query(timeout, random.random())
        return self.joined is True, self.explanation

    async def query(self, timeout: float, draw: float) -> None:
        """Ask the collector, within `timeout` seconds."""
        loop, node = asyncio.get_running_loop(), self._node_state
        began, address = loop.time(), node.read_startd_address()
        if address is None:
            self.joined, self.explanation = False, "condor_startd does not run, so the pool cannot know it"
            return
        answer = await node.commands.query_collector(address, timeout)
        now = self._queried_at = loop.time()
        if answer.ads:
            self._handle_joined(now, draw, str(answer.ads[0].get("Name", "")))
            return
        self.joined = False
        self._absent_backoff = self._absent_backoff.record_try(now, draw)
        if answer.ads is None and not answer.refused:
            self.explanation = f"cannot reach the pool's collector: {answer.problem}; check CONDOR_HOST and the network"
            node.conditions.update("manager-unreachable", self.explanation, now)
        else:
            node.conditions.update("manager-unreachable", None, now)
            await self._handle_absent(now, draw, timeout - (now - began))

    def _handle_joined(self, now: float, draw: float, name: str) -> None:
        self.joined, self.explanation = True, f"the collector knows {name}"
        self._absent_backoff, self._reconfigure_backoff = (
            self._absent_backoff.reset(),
            self._reconfigure_backoff.reset(),
        )
        self._joined_backoff = self._joined_backoff.record_try(now, draw)
        self._node_state.conditions.update("manager-unreachable", None, now)
        self._node_state.conditions.update("pool-membership", None, now)

    async def _handle_absent(self, now: float, draw: float, remaining: float) -> None:
        node = self._node_state
        refusal = await node.commands.check_advertise_right(max(1.0, remaining))
        reason = "has no ad of ours"
        if refusal:
            directory = node.token_directory
            token = "" if directory is None else f"{id_tokens.describe_validity(directory, time.time())}; "
            reason = f"refuses our ads ({refusal}): {token}is the token of this pool, and still valid?"
        self.explanation = f"this node is not in the pool: the collector {reason}"
        node.conditions.update("pool-membership", self.explanation, now, patience=JOIN_PATIENCE_S)
        if self._reconfigure_backoff.is_due(now) and now - node.started_at > 5.0:
            self._reconfigure_backoff = self._reconfigure_backoff.record_try(now, draw)
            await node.commands.reconfigure_startd()
