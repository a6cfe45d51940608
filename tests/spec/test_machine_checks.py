"""`check` warns about everything that `run` would refuse or fail at on this machine."""

from __future__ import annotations

import json
import os
import resource
from importlib.util import find_spec

import pytest

from autopilot.spec import load_text, machine_checks

JOB = {"name": "a", "exec": ["true"]}


def list_warnings(spec, *, here=False):
    """Return the warnings of a spec by path; every one of this module says that it is about this machine."""
    found = load_text(json.dumps({"jobs": [JOB], **spec}), "f", {}, runs_here=here).warnings
    return {warning.path: warning.message for warning in found if "on this machine" in warning.message}


@pytest.mark.parametrize(
    ("section", "module", "spec"),
    [
        ("consul", "aiohttp", {"consul": "localhost:8500"}),
        ("telemetry", "prometheus_client", {"telemetry": {}}),
        ("templates", "jinja2", {"templates": [{"source": "/etc/hostname", "destination": "/tmp/x"}]}),
    ],
)
def test_missing_library(monkeypatch, section, module, spec):
    """A section is warned about when a module that it needs is not installed, and only then."""
    assert section not in list_warnings(spec)
    monkeypatch.setattr(machine_checks, "find_spec", lambda name: None if name == module else find_spec(name))
    message = list_warnings(spec)[section]
    assert module in message
    assert "pip install" in message
    assert list_warnings({}) == {}


def test_missing_condor_master(monkeypatch, tmp_path):
    """A written htcondor section is warned about without condor_master; `run` would refuse it."""
    monkeypatch.setenv("PATH", str(tmp_path))
    jobs = [{"name": "m", "exec": ["/bin/sh"]}]
    assert "condor_master" in list_warnings({"htcondor": "m", "jobs": jobs})["htcondor"]
    (tmp_path / "condor_master").write_text("#!/bin/sh\n")
    (tmp_path / "condor_master").chmod(0o755)
    assert list_warnings({"htcondor": "m", "jobs": jobs}) == {}


def test_files_of_consul(tmp_path):
    """Certificate and token files that are missing or no PEM files are warned about, as far as they are used."""
    bad = tmp_path / "bad.pem"
    bad.write_text("nothing")
    consul = {"address": "h:1", "token_file": "/none/token", "tls": {"cafile": "/none/ca", "clientkey": "/none/key"}}
    assert list(list_warnings({"consul": consul})) == ["consul.token_file"]
    found = list_warnings({"consul": {**consul, "scheme": "https"}})
    assert sorted(found) == ["consul.tls.cafile", "consul.tls.clientkey", "consul.token_file"]
    assert list(list_warnings({"consul": {"address": "h:1", "scheme": "https", "tls": {"cafile": str(bad)}}})) == [
        "consul.tls"
    ]


def test_directories(tmp_path):
    """State, socket, log and templates are warned about where their directory cannot be written or made."""
    file = tmp_path / "file"
    file.write_text("")
    inside = str(file / "x" / "y")
    spec = {
        "state": inside,
        "control": {"socket": inside},
        "logging": {"output": str(tmp_path / "none" / "log")},
        "templates": [{"source": str(tmp_path / "none"), "destination": inside}],
    }
    keys = ["control.socket", "logging.output", "state", "templates[0].destination", "templates[0].source"]
    assert sorted(list_warnings(spec)) == keys
    good = str(tmp_path / "new" / "sub" / "x")
    template = {"source": str(file), "destination": good}
    spec = {"state": good, "control": {"socket": good}, "logging": {"output": str(file)}, "templates": [template]}
    assert list_warnings(spec) == {}


def test_env_file(tmp_path):
    """An env file that no job could be started with is warned about with its line."""
    file = tmp_path / "vars"
    file.write_text("A=1\nexport B=1\n")
    assert "vars:2:" in list_warnings({"jobs": [{**JOB, "env_file": str(file)}]})["jobs[a].env_file"]
    file.write_text("A=1\n")
    assert list_warnings({"jobs": [{**JOB, "env_file": str(file)}]}) == {}


def test_commands_outside_of_jobs():
    """The commands of a drain and of a template are looked for too."""
    template = {"source": "/etc/hostname", "destination": "/tmp/x", "on_change": {"exec": ["/none/t"]}}
    drain = {"exec": ["/none/d"], "until": ["/none/u"]}
    found = list_warnings({"lifetime": {"max": "1h", "drain": drain}, "templates": [template]})
    assert {path.replace("onChange", "on_change") for path in found} == {
        "lifetime.drain.exec",
        "lifetime.drain.until",
        "templates[0].on_change.exec",
    }


def test_nothing_of_it_for_a_run(tmp_path):
    """`run` does not repeat them: it finds each out by itself."""
    assert list_warnings({"state": "/dev/null/x", "telemetry": {}}, here=True) == {}


@pytest.mark.real("root")
def test_rights():
    """A supervisor that may not become another user is told of users, groups and limits; root is not."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    jobs = [{**JOB, "user": "root"}, {"name": "b", "exec": ["true"], "group": "0"}]
    spec = {"jobs": [*jobs, {"name": "c", "exec": ["true"], "limits": {"nofile": hard + 1}}]}
    assert not {"jobs[a].user", "jobs[b].group"} & list_warnings(spec).keys()
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.setuid(65534)
            os.write(writing, json.dumps(sorted(list_warnings(spec))).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with open(reading, encoding="utf-8") as answer:
        found = answer.read()
    os.waitpid(pid, 0)
    assert json.loads(found) == ["jobs[a].user", "jobs[b].group", "jobs[c].limits"]
