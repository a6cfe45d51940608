"""Declare the interface of the demo's worker node, real or stand-in."""

from __future__ import annotations

from abc import ABC, abstractmethod


class DemoNode(ABC):
    """Worker node under the supervisor, with the queue that sends it jobs."""

    queue_name: str  # name of the queue in the timeline

    @abstractmethod
    def is_ready(self) -> bool:
        """Return True if the worker takes jobs."""

    @abstractmethod
    def submit(self, seconds: float) -> str:
        """Queue a job of so many seconds and return its id."""

    @abstractmethod
    def get_job_status(self, job: str) -> str:
        """Return the queue's status of a job: Idle, Running, Completed ..."""

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
        """Return the supervisor's exit code; None while it runs."""

    @abstractmethod
    def read_last_words(self) -> str:
        """Return the text of STATE/last-words.json; empty before it exists."""
