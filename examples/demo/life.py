"""Define the port between the demo's story and a life, real or not."""

from __future__ import annotations

from abc import ABC, abstractmethod


class DemoNode(ABC):
    """A worker node under the supervisor, and the queue that sends it jobs."""

    queue_name: str  # who answers for the jobs, as the timeline calls it

    @abstractmethod
    def is_ready(self) -> bool:
        """Return True if the worker takes jobs."""

    @abstractmethod
    def submit(self, seconds: float) -> str:
        """Queue a job; returns its id."""

    @abstractmethod
    def get_job_status(self, job: str) -> str:
        """Return the state of a job in the queue: Idle, Running, Completed ..."""

    @abstractmethod
    def is_draining(self) -> bool:
        """Return True if the batch system itself reports that the node drains."""

    @abstractmethod
    def has_free_slot(self) -> bool:
        """Return True if a processor of the node is free, so that a job that stays idle was refused."""

    @abstractmethod
    def read_log(self) -> str:
        """Return the supervisor's log so far."""

    @abstractmethod
    def get_exit_code(self) -> int | None:
        """The supervisor's; None while it runs."""

    @abstractmethod
    def read_last_words(self) -> str:
        """STATE/last-words.json; empty before it exists."""
