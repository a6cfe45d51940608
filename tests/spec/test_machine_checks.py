"""`check` warns about everything that `run` would refuse or fail at on this machine."""

from __future__ import annotations

import errno
import json
import os
import resource
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

import pytest

from autopilot.spec import SpecError, id_maps, load_text, machine_checks, port_checks
from autopilot.spec.executables import find_interpreter_problem

JOB = {"name": "a", "exec": ["true"]}


def list_warnings(spec, *, here=False):
    """Return the warnings of a spec by path; every one of this module says that it is about this machine."""
    found = load_text(json.dumps({"jobs": [JOB], **spec}), "f", {}, runs_here=here).warnings
    return {warning.path: warning.message for warning in found if "on this machine" in warning.message}


@pytest.mark.parametrize(
    ("section", "module", "spec"),
    [
        ("consul", "ifaddr", {"consul": "localhost:8500"}),
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
    assert "install condor-autopilot again" in message
    assert list_warnings({}) == {}


def test_missing_condor_master(monkeypatch, tmp_path):
    """A written htcondor section is warned about without condor_master; `run` would refuse it."""
    monkeypatch.setenv("PATH", str(tmp_path))
    jobs = [{"name": "m", "exec": ["/bin/sh"]}]
    assert "condor_master" in list_warnings({"htcondor": "m", "jobs": jobs})["htcondor"]
    for name in ("condor_master", "condor_config_val"):
        assert name in list_warnings({"htcondor": "m", "jobs": jobs})["htcondor"]
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    assert list_warnings({"htcondor": "m", "jobs": jobs}) == {}
    file, tokens = tmp_path / "file", tmp_path / "tokens"
    file.write_text("")
    tokens.mkdir()
    node = {"path": str(file / "x.conf"), "token": str(tokens)}
    found = list_warnings({"htcondor": {"job": "m", "node": node}, "jobs": jobs})
    assert list(found) == ["htcondor.node.path", "htcondor.node.token"]
    assert "holds no token file" in found["htcondor.node.token"]
    (tokens / "pool").write_text("")
    good = {"path": str(tmp_path / "new" / "x.conf"), "token": str(tokens)}
    assert list_warnings({"htcondor": {"job": "m", "node": good}, "jobs": jobs}) == {}


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


def test_consuls_own_variables(tmp_path, monkeypatch):
    """Certificates, tokens and addresses that Consul's variables name are looked at where the section has none."""
    spec = {"consul": {"scheme": "https"}}
    assert list_warnings(spec) == {}
    for name in ("CONSUL_CACERT", "CONSUL_CAPATH", "CONSUL_CLIENT_CERT", "CONSUL_CLIENT_KEY", "CONSUL_HTTP_TOKEN_FILE"):
        monkeypatch.setenv(name, f"/none/{name}")
        assert f'{name}: there is no "/none/{name}"' in list_warnings(spec)["consul"]
        monkeypatch.delenv(name)
    bad = tmp_path / "bad.pem"
    bad.write_text("nothing")
    monkeypatch.setenv("CONSUL_CACERT", str(bad))
    assert "write PEM files" in list_warnings(spec)["consul"]
    assert list_warnings({"consul": "h:1"}) == {}
    for variable, value in (("CONSUL_HTTP_SSL", "true"), ("CONSUL_HTTP_ADDR", "https://h:1")):
        monkeypatch.setenv(variable, value)
        assert "write PEM files" in list_warnings({"consul": {}})["consul"]
        monkeypatch.delenv(variable)
    monkeypatch.setenv("CONSUL_HTTP_ADDR", "a b")
    assert "CONSUL_HTTP_ADDR" in list_warnings({"consul": {}})["consul"]


def test_the_agent_of_consul():
    """The program and the file of Consul's agent are looked for."""
    agent = {"join": ["h"], "exec": "/none/consul", "config": "/none/config"}
    found = list_warnings({"consul": "127.0.0.1:8500", "consul_agent": agent})
    assert list(found) == ["consul_agent.exec", "consul_agent.config"]


def test_default_state_directory(tmp_path, monkeypatch):
    """The state directory is looked at wherever its name comes from, and the control socket in it."""
    file = tmp_path / "file"
    file.write_text("")
    monkeypatch.setenv("AUTOPILOT_STATE", str(file / "x"))
    assert "is not a directory; set `state`" in list_warnings({})["state"]
    monkeypatch.setenv("AUTOPILOT_STATE", str(tmp_path / ("x" * 120)))
    assert list_warnings({}) == {}
    monkeypatch.setenv("AUTOPILOT_SOCKET", str(tmp_path / ("x" * 120)))
    assert "longer than 80 bytes" in list_warnings({})["control.socket"]
    monkeypatch.setenv("AUTOPILOT_SOCKET", str(tmp_path / "s"))
    assert list_warnings({}) == {}
    monkeypatch.setenv("AUTOPILOT_SOCKET", str(file / "s"))
    assert "is not a directory" in list_warnings({})["control.socket"]


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        (b"{{ env.A }}\n{% if %}", "line 2: "),
        (b"{{", "line 1: "),
        (b"{% for x in y %}", "endfor"),
        (b"x\xe9", "is no UTF-8 text: byte 0xe9 at offset 1"),
        (b"{{ key('a', 'b') }}{% for i in service('s') %}{{ i.port }}{% endfor %}", ""),
        ("{# \u2603 #}".encode(), ""),
        (b"{{ " + b"(" * 50_000, "source"),
    ],
)
def test_source_of_a_template(tmp_path, source, problem):
    """A template that can never be rendered, for its syntax or its bytes, is warned about."""
    file = tmp_path / "source"
    file.write_bytes(source)
    found = list_warnings({"templates": [{"source": str(file), "destination": "/tmp/x"}]})
    assert list(found) == (["templates[0].source"] if problem else [])
    assert problem in found.get("templates[0].source", "")


def test_a_source_that_is_no_file():
    """A device in the place of a template is warned about, and not read."""
    found = list_warnings({"templates": [{"source": "/dev/zero", "destination": "/tmp/x"}]})
    assert "is no regular file" in found["templates[0].source"]


def test_directories_of_the_kernel():
    """A state directory or a file below /proc is warned about, though root may write there by the permissions."""
    for key, spec in (
        ("state", {"state": "/proc/x"}),
        ("control.socket", {"control": {"socket": "/proc/x"}}),
        ("templates[0].destination", {"templates": [{"source": "/etc/hostname", "destination": "/proc/self/x"}]}),
    ):
        assert "belongs to the kernel" in list_warnings(spec)[key]


def test_owner_of_a_template():
    """A user or a group of a template that this machine does not know is warned about."""
    template = {"source": "/etc/hostname", "destination": "/tmp/x", "user": "no-such-user", "group": "no-such-group"}
    assert list(list_warnings({"templates": [template]})) == ["templates[0].user", "templates[0].group"]


def test_interpreter_of_a_script(tmp_path):
    """A job or a check that is a script without its interpreter is warned about, and a good script is not."""
    script = tmp_path / "script"
    script.write_text("#!/none/python\n")
    script.chmod(0o755)
    job = {**JOB, "exec": [str(script)], "health": {"exec": ["./script"], "interval": 1}, "cwd": str(tmp_path)}
    found = list_warnings({"jobs": [job]})
    assert list(found) == ["jobs[a].exec", "jobs[a].health.exec"]
    assert 'is a script for "/none/python", which is not there' in found["jobs[a].exec"]
    script.write_text("#!/bin/sh -e\n")
    assert list_warnings({"jobs": [job]}) == {}


def build_elf(loader, *, bits=64, order="<"):
    """Return the head of an ELF file whose only program header names `loader`."""
    identity = b"\x7fELF" + bytes([bits // 32, 1 if order == "<" else 2, 1]) + bytes(9)
    name = loader.encode() + b"\0"
    if bits == 64:
        header = struct.pack(f"{order}HHIQQQIHHHHHH", 2, 62, 1, 0, 64, 0, 0, 64, 56, 1, 0, 0, 0)
        segment = struct.pack(f"{order}IIQQQQQQ", 3, 4, 120, 0, 0, len(name), len(name), 1)
    else:
        header = struct.pack(f"{order}HHIIIIIHHHHHH", 2, 3, 1, 0, 52, 0, 0, 52, 32, 1, 0, 0, 0)
        segment = struct.pack(f"{order}IIIIIIII", 3, 84, 0, 0, len(name), len(name), 4, 1)
    return identity + header + segment + name


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "is empty"),
        (b"echo hello\n", 'begin it with a line like "#!/bin/sh"'),
        ("echo \u2603\n".encode(), "is a text without an interpreter"),
        (b"#!\n", 'is a script for ""'),
        (b"#!/none/python -u\n", 'is a script for "/none/python"'),
        (b"#!/bin/sh\n", ""),
        (b"\x00\x01\x02 bytecode of something that binfmt_misc may know", ""),
        *((build_elf("/none/ld-musl.so.1", bits=b, order=o), "/none/ld-musl.so.1") for b in (32, 64) for o in "<>"),
        *((build_elf("/bin/sh", bits=b, order=o), "") for b in (32, 64) for o in "<>"),
        (build_elf("/none")[:70], ""),
        (build_elf("/none")[:122], ""),
        (b"\x7fELF", ""),
        (b"\x7fELF" + b"\xff" * 100, ""),
    ],
)
def test_content_of_a_program(tmp_path, content, problem):
    """A program that the kernel would not execute for its content is warned about, wherever a command names it."""
    program = tmp_path / "program"
    program.write_bytes(content)
    program.chmod(0o755)
    found = find_interpreter_problem(str(program))
    assert problem in found and bool(problem) == bool(found)
    command = [str(program)]
    template = {"source": "/etc/hostname", "destination": "/tmp/x", "on_change": {"exec": command}}
    spec = {
        "jobs": [{**JOB, "exec": command, "health": {"exec": command, "interval": 1}}],
        "lifetime": {"max": "1h", "drain": {"exec": command, "until": command}},
        "templates": [template],
    }
    assert len(list_warnings(spec)) == (5 if problem else 0)


@pytest.mark.parametrize("job", [{"exec": ["true", "SIZE"]}, {"exec": ["true"], "env": {"A": "SIZE"}}])
def test_length_of_a_word(job):
    """A word or variable that is too long for the kernel is warned about, and the longest that it takes is not."""
    page = os.sysconf("SC_PAGE_SIZE")
    for size, is_wrong in ((32 * page - 3, False), (32 * page, True)):
        sized = json.loads(json.dumps(job).replace("SIZE", "x" * size))
        found = list_warnings({"jobs": [{**JOB, **sized}]})
        assert list(found) == (["jobs[a].exec"] if is_wrong else [])
        assert is_executed(sized["exec"], sized.get("env", {})) is not is_wrong


@pytest.mark.parametrize(("stack", "is_wrong"), [(1 << 20, True), (8 << 20, False)])
def test_length_of_a_command(stack, is_wrong):
    """A command is warned about that is longer than the quarter of its stack which the kernel gives it."""
    command = ["true", *["x" * 1000] * 400]
    found = list_warnings({"jobs": [{**JOB, "exec": command, "limits": {"stack": stack}}]})
    assert list(found) == (["jobs[a].exec"] if is_wrong else [])
    assert is_executed(command, {}, stack=stack) is not is_wrong


def is_executed(argv, variables, *, stack=8 << 20):
    """Ask the kernel if it takes a command."""

    def limit_stack():
        resource.setrlimit(resource.RLIMIT_STACK, (stack, resource.getrlimit(resource.RLIMIT_STACK)[1]))

    try:
        subprocess.run(argv, env={**os.environ, **variables}, check=True, preexec_fn=limit_stack)
    except OSError as error:
        assert error.errno == errno.E2BIG
        return False
    return True


def test_a_file_that_is_no_program(tmp_path):
    """A file without the right to execute it, and a directory, are called so: they are not missing."""
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\n")
    for argv, cwd, problem in (
        ([str(program)], None, "is not executable"),
        (["./program"], str(tmp_path), "is not executable"),
        ([str(tmp_path)], None, "is a directory"),
        (["./none"], str(tmp_path), "there is no program"),
        (["no-such-program"], None, "there is no program"),
    ):
        job = {**JOB, "exec": argv, **({"cwd": cwd} if cwd else {})}
        assert problem in list_warnings({"jobs": [job]})["jobs[a].exec"]


def test_the_kernel_agrees_about_programs():
    """The programs of this machine are judged as the kernel judges them: no warning about any that runs."""
    for name in ("sh", "env", "ls"):
        program = shutil.which(name)
        assert program is not None and find_interpreter_problem(program) == ""
    assert find_interpreter_problem(sys.executable) == ""


def test_directories_in_place_of_files(tmp_path):
    """A directory where a file is to be read or written is warned about."""
    place = str(tmp_path)
    forward = {"to": "tls://h:1", "ca_file": place}
    spec = {
        "control": {"socket": place},
        "logging": {"output": place, "forward": [forward]},
        "templates": [{"source": place, "destination": place}],
        "consul": {"address": "h:1", "token_file": place, "scheme": "https", "tls": {"cafile": place, "capath": place}},
    }
    found = list_warnings(spec)
    assert sorted(found) == [
        "consul.tls.cafile",
        "consul.token_file",
        "control.socket",
        "logging.forward[0].ca_file",
        "logging.output",
        "templates[0].destination",
        "templates[0].source",
    ]
    assert all("is a directory" in message for message in found.values())


def test_certificates_for_receivers_of_the_log():
    """Certificates and keys for a receiver of the log that are no PEM files are warned about."""
    for keys in ({"ca_file": "/etc/hostname"}, {"cert_file": "/etc/hostname", "key_file": "/etc/hostname"}):
        found = list_warnings({"logging": {"forward": [{"to": "tls://h:1", **keys}]}})
        assert list(found) == ["logging.forward[0]"] and "write PEM files" in found["logging.forward[0]"]


def test_logs_that_cannot_be_opened(tmp_path):
    """A log that is a socket, or a FIFO that nobody reads, is warned about; a device and an open pipe are not."""
    fifo, place = tmp_path / "fifo", tmp_path / "socket"
    os.mkfifo(fifo)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(place))
    assert "is a FIFO" in list_warnings({"logging": {"output": str(fifo)}})["logging.output"]
    assert "is a socket" in list_warnings({"logging": {"output": str(place)}})["logging.output"]
    read_end, write_end = os.pipe()
    for path in ("/dev/null", f"/dev/fd/{write_end}"):
        assert list_warnings({"logging": {"output": path}}) == {}
    os.close(read_end)
    os.close(write_end)


def test_ports_and_interfaces(tmp_path, monkeypatch):
    """Interfaces that are not here are warned about, and a port that this user may not open."""
    assert list_warnings({"telemetry": {"port": 8080, "interfaces": ["none0", "lo"]}}) == {}
    assert list_warnings({"telemetry": {"interfaces": ["none0", "10.0.0.0/8"]}}) == {}
    service = {
        "name": "web",
        "exec": "true",
        "port": 1,
        "interfaces": "none1:inet6",
        "health": {"exec": "true", "interval": 1},
    }
    assert list_warnings({"jobs": [service]}) == {}
    found = list_warnings({"telemetry": {"interfaces": ["none0", "none0[1]"]}, "jobs": [service], "consul": "h:1"})
    assert sorted(found) == ["jobs[web].interfaces", "telemetry.interfaces"]
    assert "there is no none0 or none0[1] (there are: " in found["telemetry.interfaces"]
    monkeypatch.setattr(machine_checks, "_read_capability_set", lambda _: 0)
    first = tmp_path / "first"
    first.write_text("1024\n")
    monkeypatch.setattr(port_checks, "FIRST_UNPRIVILEGED_PORT_PATH", str(first))
    assert "below 1024" in list_warnings({"telemetry": {"port": 1023}})["telemetry.port"]
    assert list_warnings({"telemetry": {"port": 1024}}) == {}


def test_user_namespace(tmp_path, monkeypatch):
    """A user or a group that our user namespace does not have is warned about; so are groups that cannot be left."""
    monkeypatch.setattr(machine_checks, "_read_capability_set", lambda _: (1 << 41) - 1)
    monkeypatch.setattr(os, "getgroups", lambda: [0])
    monkeypatch.setattr(id_maps, "PROC_SELF", tmp_path)
    jobs = [{**JOB, "user": "12345"}, {"name": "b", "exec": "true", "group": "23456"}]
    assert list_warnings({"jobs": jobs}) == {}
    for kind in ("uid", "gid"):
        (tmp_path / f"{kind}_map").write_text("         0       1000          1\n     12345     100000          1\n")
    found = list_warnings({"jobs": jobs})
    assert list(found) == ["jobs[b].group"]
    assert "gid 23456 does not exist in this user namespace" in found["jobs[b].group"]
    owned = {"source": "/etc/hostname", "destination": "/tmp/x", "user": "12345", "group": "23456"}
    assert list(list_warnings({"templates": [owned]})) == ["templates[0].group"]
    (tmp_path / "uid_map").write_text("0 1000 1\n")
    assert "uid 12345 does not exist" in list_warnings({"jobs": jobs})["jobs[a].user"]
    (tmp_path / "uid_map").write_text("0 0 4294967295\n")
    (tmp_path / "setgroups").write_text("deny\n")
    assert "may not give up its groups [0]" in list_warnings({"jobs": jobs})["jobs[a].user"]


def test_open_files_limit(tmp_path, monkeypatch):
    """A limit of open files above the kernel's is refused even to root, so it is warned about."""
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1, resource.RLIM_INFINITY))
    most = tmp_path / "nr_open"
    most.write_text("1048576\n")
    monkeypatch.setattr(machine_checks, "MAX_OPEN_FILES_PATH", str(most))
    for value, is_wrong in ((1048576, False), (1048577, True), ("unlimited", True)):
        assert bool(list_warnings({"jobs": [{**JOB, "limits": {"nofile": value}}]})) is is_wrong
    assert list_warnings({"jobs": [{**JOB, "limits": {"core": "unlimited"}}]}) == {}


@pytest.mark.real("root")
def test_access_of_the_jobs_user():
    """A program or a directory that the job's user may not reach is warned about, and root reaches everything."""
    with tempfile.TemporaryDirectory() as place:
        hidden, program = Path(place) / "hidden", Path(place) / "hidden" / "program"
        hidden.mkdir(0o700)
        os.chmod(place, 0o755)
        program.write_text("#!/bin/sh\n")
        program.chmod(0o755)
        job = {**JOB, "exec": [str(program)], "cwd": str(hidden), "user": "54321"}
        found = list_warnings({"jobs": [job]})
        assert found["jobs[a].exec"] == f'cannot be run on this machine: uid 54321 may not enter "{hidden}"'
        assert f'may not enter "{hidden}"' in found["jobs[a].cwd"]
        assert list_warnings({"jobs": [{**job, "user": "root"}]}) == {}
        os.chown(hidden, 0, 54321)
        hidden.chmod(0o710)
        program.chmod(0o700)
        assert list(list_warnings({"jobs": [job]})) == ["jobs[a].exec"]
        assert "may not execute" in list_warnings({"jobs": [job]})["jobs[a].exec"]
        program.chmod(0o755)
        assert list_warnings({"jobs": [job]}) == {}


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


def test_a_template_for_ourselves(monkeypatch):
    """A supervisor without any right may give a file to its own user and groups, and to nobody else."""
    monkeypatch.setattr(machine_checks, "_read_capability_set", lambda _: 0)
    template = {"source": "/etc/hostname", "destination": "/tmp/x"}
    own = {"user": str(os.geteuid()), "group": str(os.getegid())}
    assert list_warnings({"templates": [{**template, **own}]}) == {}
    others = {"user": str(os.geteuid() + 1), "group": str(max(os.getegid(), *os.getgroups(), 0) + 1)}
    assert list(list_warnings({"templates": [{**template, **others}]})) == ["templates[0].user", "templates[0].group"]


@pytest.mark.real("root")
def test_rights():
    """A supervisor that may not become another user is told of users, groups and limits; root is not."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    jobs = [{**JOB, "user": "root"}, {"name": "b", "exec": ["true"], "group": "1"}]
    restricted = {"name": "d", "exec": ["true"], "capabilities": "none", "secure_bits": ["noroot"], "user": 65534}
    spec = {"jobs": [*jobs, {"name": "c", "exec": ["true"], "limits": {"nofile": hard + 1}}, restricted]}
    assert not {"jobs[a].user", "jobs[b].group"} & list_warnings(spec).keys()
    assert not [path for path in list_warnings(spec) if path.startswith("jobs[d]")]
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.setgroups([])
            os.setuid(65534)
            os.environ["AUTOPILOT_STATE"] = "/tmp"
            os.write(writing, json.dumps(sorted(list_warnings(spec))).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with open(reading, encoding="utf-8") as answer:
        found = answer.read()
    os.waitpid(pid, 0)
    assert json.loads(found) == [
        "jobs[a].user",
        "jobs[b].group",
        "jobs[c].limits",
        "jobs[d].capabilities",
        "jobs[d].secure_bits",
    ]


@pytest.mark.real("root")
def test_capabilities_that_the_container_lacks(monkeypatch):
    """A capability that is outside of the supervisor's own bounding set is named."""
    monkeypatch.setattr(machine_checks, "_read_capability_set", lambda _name: 1 << 8 | 1 << 0)
    jobs = [{**JOB, "capabilities": ["CAP_CHOWN", "CAP_NET_ADMIN"]}]
    assert "given CAP_NET_ADMIN on this machine" in list_warnings({"jobs": jobs})["jobs[a].capabilities"]


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        (
            "capabilities",
            ["CAP_SYS_ADMN"],
            'cannot use "CAP_SYS_ADMN": no such capability; did you mean "CAP_SYS_ADMIN"?',
        ),
        ("capabilities", "all", 'cannot be "all"; write an array of names'),
        ("capabilities", [1], "cannot contain 1"),
        ("secure_bits", ["norooot"], 'no such secure bit; did you mean "noroot"?'),
        ("no_new_privs", "maybe", 'cannot be "maybe"'),
    ],
)
def test_wrong_privileges(key, value, message):
    """A wrong name of a capability or a secure bit is refused with the nearest right one."""
    with pytest.raises(SpecError) as caught:
        load_text(json.dumps({"jobs": [{**JOB, key: value}]}), "f", {})
    assert message in str(caught.value)


def test_privileges_reach_the_plan():
    """Names of capabilities and secure bits become numbers; the batch system's main process may gain privileges."""
    keys = {"capabilities": ["cap_kill", "CHOWN"], "secureBits": ["noroot", "noroot_locked"], "noNewPrivs": True}
    command = load_text(json.dumps({"jobs": [{**JOB, **keys}]}), "f", {}).plan.jobs[0].command
    assert (command.capabilities, command.secure_bits, command.no_new_privs) == ((0, 5), 3, True)
    command = load_text(json.dumps({"jobs": [{**JOB, "capabilities": "none"}]}), "f", {}).plan.jobs[0].command
    assert (command.capabilities, command.secure_bits, command.no_new_privs) == ((), 0, None)
    master = {"jobs": [{"name": "m", "exec": ["condor_master", "-f"], "user": "root"}]}
    assert load_text(json.dumps(master), "f", {}).plan.jobs[0].command.no_new_privs is False
