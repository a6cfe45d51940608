"""Ask the collector whether it knows this schedd: without its ad no negotiator sends a match."""

from __future__ import annotations

import asyncio
import random
import time
from pathlib import Path

from autopilot.adapters.batch.conditions import Backoff, Conditions
from autopilot.adapters.batch.htcondor import id_tokens
from autopilot.adapters.batch.htcondor.access_point.schedd_commands import ScheddCommands
from autopilot.adapters.batch.htcondor.condor_commands import QUERY_TIMEOUT_S

QUERY_INTERVAL_S = 300.0  # while the schedd is in its pool
MAX_ANSWER_AGE_S = 5.0  # an older answer is not given to a health check
JOIN_PATIENCE_S = 30.0  # for a new schedd's first ad


class ScheddMembership:
    """The schedd's membership, by the collector's last answer."""

    def __init__(self, commands: ScheddCommands, conditions: Conditions) -> None:
        """Wire the parts; nothing is asked yet."""
        self._commands, self._conditions = commands, conditions
        self.name = ""  # of the schedd
        self.token_directory: Path | None = None  # where this pool needs a token
        self.joined: bool | None = None  # None: not asked yet
        self.explanation = "the collector has not been asked yet"
        self._queried_at = float("-inf")
        self._joined_backoff = Backoff(QUERY_INTERVAL_S, QUERY_INTERVAL_S)
        self._absent_backoff = Backoff(2.0, 15.0)

    async def query_if_due(self) -> None:
        """Ask when it is time."""
        backoff = self._joined_backoff if self.joined else self._absent_backoff
        if backoff.is_due(asyncio.get_running_loop().time()):
            await self.query(QUERY_TIMEOUT_S)

    def compute_pause(self, now: float) -> float:
        """Return the seconds until an absent schedd is asked for again, at least 1; `now` is the loop's time."""
        return max(1.0, self._absent_backoff.due_at - now)

    async def check(self, timeout: float) -> tuple[bool, str]:
        """Return whether the schedd is in its pool, and one sentence; the answer is at most MAX_ANSWER_AGE_S old."""
        if asyncio.get_running_loop().time() - self._queried_at > MAX_ANSWER_AGE_S:
            await self.query(timeout)
        return self.joined is True, self.explanation

    async def query(self, timeout: float) -> None:
        """Ask the collector, within `timeout` seconds."""
        answer = await self._commands.query_collector(self.name, timeout)
        now = self._queried_at = asyncio.get_running_loop().time()
        self.joined = bool(answer.ads)
        unreachable, absent = None, None
        if self.joined:
            self.explanation = f"the collector knows {self.name}"
            self._absent_backoff = self._absent_backoff.reset()
            self._joined_backoff = self._joined_backoff.record_try(now, random.random())
        else:
            self._joined_backoff = self._joined_backoff.reset()
            self._absent_backoff = self._absent_backoff.record_try(now, random.random())
            if answer.ads is None and not answer.refused:
                unreachable = f"cannot reach the pool's collector: {answer.problem}; check CONDOR_HOST and the network"
            else:
                absent = await self._explain_absence(timeout)
            self.explanation = unreachable or absent or ""
        self._conditions.update("manager-unreachable", unreachable, now)
        self._conditions.update("pool-membership", absent, now, patience=JOIN_PATIENCE_S)

    async def _explain_absence(self, timeout: float) -> str:
        refusal = await self._commands.check_advertise_right(timeout)
        if not refusal:
            return f"this access point is not in the pool: the collector has no ad of {self.name}"
        directory = self.token_directory
        token = (
            "" if directory is None else f"{id_tokens.describe_validity(directory, time.time(), 'ADVERTISE_SCHEDD')}; "
        )
        return (
            f"this access point is not in the pool: the collector refuses its ads ({refusal}): "
            f"{token}is the token of this pool, and still valid?"
        )
