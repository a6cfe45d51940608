"""Test validation in a child: same answers as without one, and a bound on every failure of the child."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from autopilot.process.job_processes import list_children
from autopilot.spec import SpecError, ValidatorError, load, spec_loading, validate_in_child


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    """Return a job spec with a template action and a warning."""
    path = tmp_path / "spec.json5"
    path.write_text("{jobs: [{name: '{{ .NAME }}', exec: 'true', tags: ['x']}]}")
    return path


@pytest.fixture(autouse=True)
def no_child_left() -> Iterator[None]:
    """Let the test end without a child that was not there before it, dead or alive."""
    before = set(list_children(os.getpid()))
    yield
    assert set(list_children(os.getpid())) <= before


def test_as_load(spec: Path) -> None:
    """The child's plan, warnings and rendered text are those of load."""
    assert validate_in_child(spec, {"NAME": "n"}) == load(spec, {"NAME": "n"})


def test_problems_come_whole(spec: Path) -> None:
    """The child's problems and warnings are those of load, with places."""
    with pytest.raises(SpecError) as direct:
        load(spec, {"NAME": "SIGHUP"})
    with pytest.raises(SpecError) as caught:
        validate_in_child(spec, {"NAME": "SIGHUP"})
    assert caught.value.problems == direct.value.problems
    assert caught.value.warnings == direct.value.warnings


def replace_load(monkeypatch: pytest.MonkeyPatch, behaviour: Any) -> None:
    """Let the child call `behaviour` instead of load."""
    monkeypatch.setattr(spec_loading, "load", behaviour)


@pytest.mark.parametrize(
    ("behaviour", "message"),
    [
        (lambda *_, **__: 1 / 0, "internal error while validating the job spec:\nTraceback"),
        (lambda *_, **__: os._exit(3), r"internal error: the validation of the job spec ended early \(exit code 3\)"),
        (lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL), r"ended early \(signal 9\)"),
        (lambda *_, **__: sys.exit(1), r"ended early \(exit code 70\)"),
    ],
)
def test_a_child_that_fails(monkeypatch: pytest.MonkeyPatch, spec: Path, behaviour: Any, message: str) -> None:
    """A child that crashes is an internal error, never a bad spec, and is reaped."""
    replace_load(monkeypatch, behaviour)
    with pytest.raises(ValidatorError, match=message):
        validate_in_child(spec, {})


def test_a_child_that_hangs(monkeypatch: pytest.MonkeyPatch, spec: Path) -> None:
    """A child that does not answer in time is killed and reaped."""
    replace_load(monkeypatch, lambda *_, **__: signal.pause())
    began = time.monotonic()
    with pytest.raises(ValidatorError, match=r"was not validated within 0\.05 s"):
        validate_in_child(spec, {}, timeout=0.05)
    assert time.monotonic() - began < 60


def test_other_children_are_left_alone(spec: Path) -> None:
    """Only the validating child is waited for: another child's exit status stays for its owner."""
    other = os.fork()
    if other == 0:
        os._exit(5)
    validate_in_child(spec, {"NAME": "n"})
    assert os.waitstatus_to_exitcode(os.waitpid(other, 0)[1]) == 5
