"""Test the paper's Figure 4, the reference job spec: refused as printed, loaded as intended."""

from __future__ import annotations

from pathlib import Path

import pytest

from autopilot.spec import SpecError, load
from autopilot.spec.plan import Command, ExecProbe, Health, Service, Trigger, When

DATA = Path(__file__).parent / "data"


def test_as_meant() -> None:
    """The corrected text gives a master with a check every minute, and a peaceful off 30 min after it is healthy."""
    master, payload = load(DATA / "figure4.json", {}).plan.jobs
    assert master.name == "condor-master"
    assert master.command.argv == ("condor_master", "-f")
    assert master.service == Service(port=9621, interfaces=("eth0:inet", "inet"))
    probe = ExecProbe(command=Command(argv=("condor_config_val", "-startd", "StartJobs")))
    assert master.health == Health(probe=probe, interval=60, timeout=60, ttl=120)
    assert master.when == When()
    assert payload.command.argv == ("condor_off", "-daemon", "startd", "-peaceful")
    assert payload.when == When(triggers=(Trigger(source="condor-master", event="healthy"),), delay=1800)
    assert payload.restarts == 0


def test_as_meant_without_warnings() -> None:
    """A ttl equal to interval + timeout causes no warning."""
    assert load(DATA / "figure4.json", {}).warnings == ()


def test_as_printed() -> None:
    """The text as printed is refused at its first problem, the missing braces around everything."""
    with pytest.raises(SpecError) as caught:
        load(DATA / "figure4-as-printed.txt", {})
    (problem,) = caught.value.problems
    assert (problem.line, problem.column) == (1, 7)
    assert problem.message == 'expected the end of the text, found ":"; put the whole text in braces: {...}'


@pytest.mark.parametrize(
    ("repairs", "line", "column", "message"),
    [
        ([], 14, 5, 'expected "," or "}" after the value, found "exec"'),
        ([('payload"\n', 'payload",\n')], 14, 13, "the string that begins here is not closed in its line"),
        ([('payload"\n', 'payload",\n'), ("peaceful\n", 'peaceful"\n')], 15, 5, 'expected "," or "}" after the value'),
        (
            [('payload"\n', 'payload",\n'), ("peaceful\n", 'peaceful",\n')],
            16,
            15,
            'expected "," or "}" after the value, found ":"',
        ),
    ],
)
def test_each_further_mistake(repairs: list[tuple[str, str]], line: int, column: int, message: str) -> None:
    """With braces around it and the first job closed, each further mistake of the print is found at its own place."""
    text = "{" + (DATA / "figure4-as-printed.txt").read_text() + "}"
    text = text.replace('"timeout": "60"\n    },', '"timeout": "60"\n    }},')
    for old, new in repairs:
        assert old in text
        text = text.replace(old, new)
    with pytest.raises(SpecError) as caught:
        from autopilot.spec import load_text

        load_text(text, env={})
    (problem,) = caught.value.problems
    assert (problem.line, problem.column) == (line, column)
    assert problem.message.startswith(message)
