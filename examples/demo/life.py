"""What the story needs of a life, real or not."""

from __future__ import annotations

from abc import ABC, abstractmethod


class Life(ABC):
    """One worker node under the supervisor, and the queue that sends it jobs."""

    queue: str  # who answers for the jobs, as the timeline calls it

    @abstractmethod
    def ready(self) -> bool:
        """Whether the worker takes jobs."""

    @abstractmethod
    def submit(self, seconds: float) -> str:
        """Queue a job; returns its id."""

    @abstractmethod
    def job_status(self, job: str) -> str:
        """What the queue says of it: Idle, Running, Completed ..."""

    @abstractmethod
    def draining(self) -> bool:
        """Whether the batch system itself says that the node drains."""

    @abstractmethod
    def free_slot(self) -> bool:
        """Whether a processor of the node is free, so that a job that stays idle was refused."""

    @abstractmethod
    def log(self) -> str:
        """All that the supervisor has logged so far."""

    @abstractmethod
    def exit_code(self) -> int | None:
        """The supervisor's; None while it runs."""

    @abstractmethod
    def last_words(self) -> str:
        """STATE/last-words.json; empty before it exists."""
