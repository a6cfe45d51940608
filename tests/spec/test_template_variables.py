"""A problem at a value whose template reads variables that are not set names them."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from autopilot.spec import SpecError, load, load_text
from autopilot.spec.template_variables import find_unset_variables

EXAMPLE = Path(__file__).parents[2] / "examples" / "worker-node" / "autopilot.json5"


@pytest.mark.parametrize(
    ("value", "note"),
    [
        ('stopTimeout: "{{ .LIMIT }}s"', "set LIMIT: the template reads it"),
        ('stopTimeout: "{{ env "LIMIT" }}{{ $.UNIT }}s"', "set LIMIT, UNIT: the template reads them"),
        ("stopTimeout: {{ .LIMIT }}", "set LIMIT: the template reads it"),
        ('stopTimeout: "{{ .LIMIT | default "x" }}"', ""),
        ('stopTimeout: "{{ .GIVEN }}"', ""),
        ("stopTimeout: 'x'", ""),
        ('logging: {level: "{{ .GIVEN }}", output: ["{{ .OTHER }}"]}', ""),
    ],
)
def test_problems_name_the_variables(value: str, note: str) -> None:
    """The note of a problem names the variables of its value that are not set, and no others."""
    with pytest.raises(SpecError) as caught:
        load_text(f'{{{value}, jobs: [{{name: "main", exec: "true"}}]}}', env={"GIVEN": "y"})
    assert {problem.note.partition("; in")[0] for problem in caught.value.problems} == {note}


def test_the_worker_without_its_manager() -> None:
    """The worker's job spec without CONDOR_HOST says to set it."""
    with pytest.raises(SpecError, match=r"condor_host: .*\(set CONDOR_HOST: the template reads it\)"):
        load(EXAMPLE, env={}, runs_here=False)


@pytest.mark.parametrize("text", ['"' + "{{" * 50_000, '"' + '{{"' * 50_000, "{{}}" * 50_000, '"\\' * 50_000, '"{{ .A'])
def test_hostile_texts(text: str) -> None:
    """Any text is searched in time, also one whose actions never end."""
    began = time.process_time()
    find_unset_variables(text, 0, {})
    find_unset_variables(text, len(text), {})
    assert time.process_time() - began < 10
