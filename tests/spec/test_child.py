"""Validation in a child: the same answers, and a bound on every failure of the child itself."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from autopilot.spec import SpecError, ValidatorFailed, load, loading, validated_in_child


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    path = tmp_path / "spec.json5"
    path.write_text("{jobs: [{name: '{{ .NAME }}', exec: 'true', tags: ['x']}]}")
    return path


def no_child_is_left() -> bool:
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return True
    return False


def test_as_load(spec: Path) -> None:
    """The child's plan, warnings and rendered text are those of load."""
    assert validated_in_child(spec, {"NAME": "n"}) == load(spec, {"NAME": "n"})
    assert no_child_is_left()


def test_problems_come_whole(spec: Path) -> None:
    """The child's problems and warnings are those of load, with places."""
    with pytest.raises(SpecError) as direct:
        load(spec, {"NAME": ""})
    with pytest.raises(SpecError) as caught:
        validated_in_child(spec, {"NAME": ""})
    assert caught.value.problems == direct.value.problems
    assert caught.value.warnings == direct.value.warnings


def failing(monkeypatch: pytest.MonkeyPatch, behaviour: Any) -> None:
    monkeypatch.setattr(loading, "load", behaviour)


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
    failing(monkeypatch, behaviour)
    with pytest.raises(ValidatorFailed, match=message):
        validated_in_child(spec, {})
    assert no_child_is_left()


def test_a_child_that_hangs(monkeypatch: pytest.MonkeyPatch, spec: Path) -> None:
    """A child that does not answer in time is killed and reaped."""
    failing(monkeypatch, lambda *_, **__: signal.pause())
    began = time.monotonic()
    with pytest.raises(ValidatorFailed, match=r"was not validated within 0\.05 s"):
        validated_in_child(spec, {}, patience=0.05)
    assert time.monotonic() - began < 5
    assert no_child_is_left()


def test_other_children_are_left_alone(spec: Path) -> None:
    """Only the validating child is waited for: another child's exit status stays for its owner."""
    other = os.fork()
    if other == 0:
        os._exit(5)
    validated_in_child(spec, {"NAME": "n"})
    assert os.waitstatus_to_exitcode(os.waitpid(other, 0)[1]) == 5
