"""The commands and examples of the documentation work."""

from __future__ import annotations

import configparser
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest

from autopilot.cli.main import main as autopilot_command
from autopilot.spec import load, load_text
from autopilot.spec.conversion.converting import convert_supervisord_text
from autopilot.spec.plan import Job
from tests.test_examples import ENVIRONMENT, EXAMPLES

DOCS = sorted([*(Path(__file__).parents[1] / "docs").glob("*.md"), Path(__file__).parents[1] / "README.md"])
SIGNALS = {"WINCH": 28, "TERM": 15}
AUTORESTART = {(None, True): "true", (None, False): "unexpected", (0, True): "false"}


def find_commands(text: str) -> list[str]:
    """`autopilot ...` in code, also as part of a recipe or of another command."""
    fenced = "\n".join(re.findall(r"(?ms)^ *```\w*\n(.*?)^ *```", text))
    inline = re.findall(r"`([^`\n]*)`", re.sub(r"(?ms)^ *```\w*\n.*?^ *```", "", text))
    lines = [*fenced.splitlines(), *inline]
    return [match[0] for line in lines for match in re.finditer(r"(?<![\w/.-])autopilot [a-z]+[^#|>&;(,]*", line)]


@pytest.mark.parametrize("path", DOCS, ids=lambda path: path.name)
def test_commands_that_are_shown(path: Path) -> None:
    """Each `autopilot VERB ...` of the documentation has a verb and options that are there."""
    wrong = []
    for command in find_commands(path.read_text().replace("\\|", "")):
        _, verb, *words = shlex.split(command.replace("'", "").replace('"', ""))
        found = autopilot_command.get_command(click.Context(autopilot_command), verb)
        known = {option for parameter in found.params for option in parameter.opts} if found is not None else set()
        own_words = words[: words.index("--")] if "--" in words else words
        options = [word.partition("=")[0].rstrip(".:") for word in own_words if word.startswith("-") and word != "-"]
        unknown = [option for option in options if option not in {*known, "-h", "--help", "--"}]
        if found is None or unknown:
            wrong.append(command)
    assert wrong == []


# --- before and after ---


def read_supervisord_programs() -> dict[str, dict[str, str]]:
    """supervisord's programs, its loops unrolled."""
    config = configparser.RawConfigParser(inline_comment_prefixes=(" ;",))
    config.read(EXAMPLES / "from-supervisord" / "supervisord.conf")
    programs = {}
    for section in config.sections():
        kind, _, name = section.partition(":")
        if kind == "program":
            for number in range(int(config[section].get("numprocs", "1"))):
                values = {"program_name": name, "process_num": number}
                program = {key: value % values for key, value in config[section].items()}
                programs[program.get("process_name", name)] = program
    return programs


def compare_settings(program: dict[str, str], job: Job) -> dict[str, tuple[Any, Any]]:
    """Return the settings of both files, where both have them."""
    environment = re.findall(r'(\w+)="([^"]*)"', program.get("environment", ""))
    return {
        "command": (tuple(shlex.split(program["command"])), job.command.argv),
        "user": (program.get("user"), job.command.user),
        "directory": (program.get("directory"), job.command.cwd),
        "umask": (int(program["umask"], 8) if "umask" in program else None, job.command.umask),
        "environment": (dict(environment), dict(job.command.env)),
        "autostart": (program.get("autostart") != "false", "asked" not in {t.event for t in job.when.triggers}),
        "autorestart": (program.get("autorestart", "unexpected"), AUTORESTART[job.restarts, job.restart_after_success]),
        "stopsignal": (SIGNALS[program.get("stopsignal", "TERM")], job.stop.signal),
        "stopwaitsecs": (float(program.get("stopwaitsecs", 10)), job.stop.timeout),
        "stopasgroup": (program.get("stopasgroup") == "true", job.stop.group),
    }


def test_supervisord_before_and_after(monkeypatch: pytest.MonkeyPatch) -> None:
    """The example's two files say the same of every program, as far as both can say it."""
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    jobs = {
        job.name: job for job in load(str(EXAMPLES / "from-supervisord" / "autopilot.json5"), runs_here=False).plan.jobs
    }
    programs = read_supervisord_programs()
    assert list(jobs) == list(programs)
    for name, program in programs.items():
        assert [(key, *both) for key, both in compare_settings(program, jobs[name]).items() if both[0] != both[1]] == []
    ranks = {name: int(program.get("priority", 999)) for name, program in programs.items()}
    for one in ("condor", "httpd", "gwms-frontend"):
        for other in ("condor", "httpd", "gwms-frontend"):
            assert (ranks[one] > ranks[other]) == (jobs[one].stop.order < jobs[other].stop.order)


def test_supervisord_converted() -> None:
    """What `autopilot convert` writes of the example says the same of every program as supervisord.conf."""
    path = EXAMPLES / "from-supervisord" / "supervisord.conf"
    text = convert_supervisord_text(path.read_text(), str(path), {}).text
    jobs = {job.name: job for job in load_text(text, env={}, runs_here=False).plan.jobs}
    programs = read_supervisord_programs()
    assert list(jobs) == list(programs)
    for name, program in programs.items():
        assert [(key, *both) for key, both in compare_settings(program, jobs[name]).items() if both[0] != both[1]] == []


def test_simulation_of_the_documentation(tmp_path: Path) -> None:
    """The script lines that docs/command-line.md shows are understood."""
    text = (Path(__file__).parents[1] / "docs" / "command-line.md").read_text()
    cells = re.findall(r"(?m)^\| ((?:`[^`]+`(?:, )?)+) \|", text[text.index("## Simulate a life") :])
    lines = [
        line.replace("JOB", "main").replace("NAME", "db") for cell in cells for line in re.findall(r"`([^`]+)`", cell)
    ]
    assert len(lines) > 10
    spec = {
        "consul": "localhost:8500",
        "jobs": [{"name": "main", "exec": "true"}],
        "checks": [{"name": "db", "exec": "true"}],
        "watches": [{"name": "db", "interval": 1}],
    }
    (tmp_path / "spec.json").write_text(json.dumps(spec))
    (tmp_path / "script").write_text("\n".join(lines))
    done = subprocess.run(
        [sys.executable, "-m", "autopilot", "check", "spec.json", "--simulate", "script"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
