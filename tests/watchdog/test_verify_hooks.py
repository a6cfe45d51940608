"""Checks of an image that the site runs on the host: bounded in time and output, whatever they leave behind."""

from __future__ import annotations

import time

import pytest
from autopilot_watchdog.config.slot_config import Command
from autopilot_watchdog.shell import act

LIMIT_S = 60.0


@pytest.mark.parametrize(
    ("script", "timeout_s", "blames_image", "sentence"),
    [
        ("exit 0", LIMIT_S, False, ""),
        ("echo unsigned >&2; exit 3", LIMIT_S, True, "sh ended with status 3: unsigned"),
        ("echo registry away >&2; exit 75", LIMIT_S, False, "sh ended with status 75: registry away"),
        ("/no/such/program", LIMIT_S, False, "sh ended with status 127: "),
        ("kill -9 $$", LIMIT_S, True, "sh ended with status -9 and printed nothing"),
        ("sleep 1000 & exit 0", LIMIT_S, False, ""),
        ("sleep 1000 & echo no; exit 1", LIMIT_S, True, "sh ended with status 1: no"),
        ("head -c 50000000 /dev/zero; exit 1", LIMIT_S, True, "sh ended with status 1: "),
        ("printf '\\377\\n'; exit 1", LIMIT_S, True, "sh ended with status 1: \ufffd"),
        ("yes", 0.5, False, "sh took longer than 0.5 s"),
        ("sleep 1000 & wait", 0.5, False, "sh took longer than 0.5 s"),
        ("trap '' TERM; while :; do :; done", 0.5, False, "sh took longer than 0.5 s"),
    ],
)
def test_a_check_ends(script: str, timeout_s: float, blames_image: bool, sentence: str) -> None:
    """A check is over when its program ends, and has failed without blame when its time is over."""
    begin = time.monotonic()
    error, blames = act._run_hook(Command(exec=("sh", "-c", script), timeout=timeout_s), "r/i@sha256:a", "sha256:a")
    assert error.rstrip("\0").startswith(sentence) and bool(error) == bool(sentence)
    assert len(error) < 1000
    assert blames is blames_image
    assert time.monotonic() - begin < LIMIT_S / 2  # no child that stays is waited for


def test_a_check_that_is_not_there() -> None:
    """A program that cannot be run is the host's trouble, not the image's."""
    error, blames = act._run_hook(Command(exec=("/no/such/check",), timeout=5.0), "r/i@sha256:a", "sha256:a")
    assert error == "cannot run /no/such/check: No such file or directory" and not blames


def test_a_check_knows_the_image() -> None:
    """The check finds the image in its environment, and has no input."""
    script = 'cat; test "$AUTOPILOT_IMAGE" = r/i@sha256:a && test "$AUTOPILOT_IMAGE_DIGEST" = sha256:a'
    assert act._run_hook(Command(exec=("sh", "-c", script), timeout=LIMIT_S), "r/i@sha256:a", "sha256:a") == ("", False)
