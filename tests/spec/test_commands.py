"""Test the verbs check, plan and schema as a user calls them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from autopilot.app import plan_cache
from autopilot.cli import check, plan, schema
from autopilot.cli.main import main
from autopilot.spec import load, serialize_plan

DATA = Path(__file__).parent / "data"


def run(command: Any, *arguments: str) -> Result:
    """Run a verb and return its result."""
    return CliRunner().invoke(command, list(arguments), catch_exceptions=False)


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    """Return a job spec with secrets and two stop orders."""
    path = tmp_path / "spec.json5"
    path.write_text(
        """{jobs: [{name: "a", exec: "true", env: {API_TOKEN: "s3cret", MODE: "x", MONKEY: ""}, stop: {timeout: "7s"},
        health: {http: {url: "http://u:s3cret@h/", header: {Authorization: "s3cret"}}}},
        {name: "b", exec: "true", stop: {order: 1}}]}"""
    )
    return path


def test_check_of_a_good_spec(spec: Path) -> None:
    """A good spec gives exit code 0 and one summary line."""
    result = run(check.command, str(spec))
    assert (result.exit_code, result.output) == (0, f"{spec}: no problems, no warnings, 2 jobs, stops within 12 s\n")


def test_check_of_a_bad_spec() -> None:
    """A bad spec gives exit code 78, each problem with its place, and the summary."""
    path = str(DATA / "figure4-as-printed.txt")
    result = run(check.command, path)
    first, summary = result.output.splitlines()
    assert result.exit_code == 78
    assert first.startswith(f"{path}:1:7: expected the end of the text")
    assert summary == f"{path}: 1 problem, no warnings"


def test_check_prints_warnings() -> None:
    """A program that this machine lacks is a warning, and the exit code stays 0."""
    result = run(check.command, str(DATA / "figure4.json"))
    assert result.exit_code == 0
    assert (
        'jobs[condor-master].exec: cannot be run on this machine: there is no program "condor_master"' in result.output
    )


@pytest.mark.parametrize(("budget", "code"), [("10s", 78), ("12s", 0)])
def test_stop_budget(spec: Path, budget: str, code: int) -> None:
    """--stop-budget fails when the worst ordered stop is longer, and names the jobs that cause it."""
    result = run(check.command, str(spec), "--stop-budget", budget)
    assert result.exit_code == code
    assert ("the worst ordered stop takes 12 s (a 7 s, then b 5 s)" in result.output) == bool(code)


@pytest.mark.parametrize(("budget", "code"), [("12s", 78), ("13s", 0)])
def test_stop_budget_with_forwarding(spec: Path, budget: str, code: int) -> None:
    """The last lines for a receiver of the log are a part of the stop."""
    spec.write_text(f'{{logging: {{forward: [{{to: "tcp://h"}}]}}, {spec.read_text().strip().removeprefix("{")}')
    result = run(check.command, str(spec), "--stop-budget", budget)
    assert result.exit_code == code
    assert ("takes 13 s (a 7 s, then b 5 s, then the last lines of logging.forward 1 s)" in result.output) == bool(code)


@pytest.mark.parametrize(("budget", "code"), [("12s", 78), ("13s", 0)])
def test_stop_budget_with_files(spec: Path, budget: str, code: int) -> None:
    """The rest of the followed files is a part of the stop."""
    spec.write_text(spec.read_text().replace('{name: "a",', '{name: "a", logging: {files: [{path: "/x/*.log"}]},'))
    result = run(check.command, str(spec), "--stop-budget", budget)
    assert result.exit_code == code
    assert ("takes 13 s (a 7 s, then b 5 s, then the rest of logging.files 1 s)" in result.output) == bool(code)


def test_a_wrong_budget_is_a_usage_error(spec: Path) -> None:
    """A budget that is no duration is refused as usage."""
    result = run(main, "check", str(spec), "--stop-budget", "soon")
    assert result.exit_code == 64
    assert "cannot be read as a duration" in result.output


@pytest.mark.parametrize("name", ["figure4.json", "figure4-as-printed.txt"])
def test_check_as_json(name: str) -> None:
    """-o json reports the same problems with the same exit code."""
    text, data = run(check.command, str(DATA / name)), run(check.command, str(DATA / name), "-o", "json")
    report = json.loads(data.output)
    assert data.exit_code == text.exit_code
    assert report["ok"] == (data.exit_code == 0)
    assert all(isinstance(problem["line"], int) and problem["message"] in text.output for problem in report["problems"])


def test_compile_writes_what_a_start_uses(spec: Path) -> None:
    """--compile writes the plan beside the config, where a start finds it as long as the text is the same."""
    assert run(check.command, str(spec), "--compile").exit_code == 0
    assert plan_cache.find(spec.read_text(), plan_cache.get_path_beside(str(spec))) == json.loads(
        json.dumps(serialize_plan(load(spec).plan))
    )


@pytest.mark.parametrize("output", ["text", "json"])
def test_plan_masks_secrets(spec: Path, output: str) -> None:
    """The plan is printed as JSON with defaults, without values whose names look like secrets."""
    result = run(plan.command, str(spec), "-o", output)
    (first, _) = json.loads(result.stdout)["jobs"]
    assert result.exit_code == 0
    assert "s3cret" not in result.output
    assert first["command"]["env"] == {"API_TOKEN": "***", "MODE": "x", "MONKEY": ""}
    assert first["health"]["probe"]["url"] == "http://u:***@h/"
    assert first["backoff"]["max"] == 30


def test_plan_of_a_bad_spec() -> None:
    """A bad spec has no plan: exit code 78, problems on stderr, nothing on stdout."""
    result = run(plan.command, str(DATA / "figure4-as-printed.txt"))
    assert (result.exit_code, result.stdout) == (78, "")
    assert ":1:7: expected the end of the text" in result.stderr


def test_schema() -> None:
    """The schema knows every key in both spellings, describes it, and allows no other."""
    found = json.loads(run(schema.command).output)
    job = found["$defs"]["Job"]
    assert job["additionalProperties"] is False
    assert job["properties"]["envFile"] == job["properties"]["env_file"]
    assert found["$defs"]["Watch"]["required"] == ["name", "interval"]
    assert job["properties"]["uid"] == job["properties"]["user"]
    assert "cron" in found["$defs"]["When"]["properties"] and "key" in found["$defs"]["Watch"]["properties"]
    assert {"type": "string"} in found["properties"]["consul"]["anyOf"]
    for part in [found, *found["$defs"].values()]:
        undescribed = [key for key, value in part["properties"].items() if not value.get("description")]
        assert undescribed == []


def test_required_keys_have_one_spelling() -> None:
    """The schema can require a key by name only because no required key has two spellings."""
    found = json.loads(run(schema.command).output)
    for part in [found, *found["$defs"].values()]:
        assert not [key for key in part.get("required", []) if "_" in key]
