"""As PID 1 of a container, as far as a site may starve it: no configuration, no state directory, no root."""

from __future__ import annotations

import json
import signal
import subprocess
import sys

import pytest

from tests.app.harness import eventually
from tests.containerpilot.drop_in import DEFAULT_SOCKET, PROGRAM, PidNamespace

pytestmark = [pytest.mark.real("namespaces"), pytest.mark.slow]  # seconds each

ENTRIES = {"containerpilot": [PROGRAM], "autopilot": [sys.executable, "-m", "autopilot", "run"]}
# a grandchild that PID 1 inherits, and that ends at once
ORPHAN = ("sh", "-c", "(sh -c 'sleep 0.05' &) ; exit 0")
# may read and run what this test is made of, wherever that is, and write nothing
READS = [f"--{of}-caps=+dac_read_search" for of in ("inh", "ambient")]
NOBODY = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", *READS]
SLEEPER = {"name": "sleeper", "exec": ["sleep", "1000"]}


def list_zombies(container):
    listed = container.run("ps", "-eo", "stat=").stdout.split()
    return [state for state in listed if state.startswith("Z")]


@pytest.mark.parametrize("entry", ENTRIES)
def test_pid_1_waits(tmp_path, entry):
    """Without any configuration PID 1 keeps running, says what is missing, reaps, and ends at SIGTERM with 0."""
    state = tmp_path / "state"
    with PidNamespace(tmp_path, ENTRIES[entry], env={"AUTOPILOT_STATE": str(state)}) as container:
        eventually(lambda: "Nothing is run until there is one" in container.read_output(), "it says so")
        assert "no configuration" in container.read_output() or "no job spec" in container.read_output()
        assert container.run(*ORPHAN).returncode == 0
        eventually(lambda: len(container.run("ps", "-eo", "comm=").stdout.split()) == 2, "all are gone")  # itself, ps
        assert not list_zombies(container)
        container.send_signal(signal.SIGHUP)
        shown = json.loads(
            container.run(
                *(sys.executable, "-m", "autopilot", "status", "-o", "json"), env={"AUTOPILOT_STATE": str(state)}
            ).stdout
        )
        assert shown["jobs"] == [] and "no-config" in shown["troubles"] and not shown["good"]
        container.send_signal(signal.SIGTERM)
        assert container.wait() == 0
    words = json.loads((state / "last-words.json").read_text())
    assert (words["state"], words["reason"], words["good"]) == ("ended", "signal", False)


def test_config_that_appears(tmp_path):
    """A reload finds the configuration that has come meanwhile, a bad one refused with its place; a life that has it
    begins in the same process, with what was put into the environment.
    """
    env = {"AUTOPILOT_STATE": str(tmp_path / "state")}
    config = tmp_path / "c.json5"
    with PidNamespace(tmp_path, [PROGRAM], env=env) as container:
        eventually(lambda: "Nothing is run until there is one" in container.read_output(), "it says so")
        pid = container.pid
        none = container.run(PROGRAM, "-reload")
        assert none.returncode == 78 and "no configuration" in none.stderr
        assert container.run(PROGRAM, "-putenv", f"CONTAINERPILOT={config}", "-putenv", "WORD=put").returncode == 0
        config.write_text('{jobs: [{name: "a", exec: "true", wen: {}}]}')
        bad = container.run(PROGRAM, "-reload")
        assert bad.returncode == 78 and f"{config}:1:" in bad.stderr
        job = {"name": "a", "exec": ["sh", "-c", "echo word is $WORD; exec sleep 1000"]}
        config.write_text(json.dumps({"jobs": [job], "consul": "localhost:1"}))
        assert container.run(PROGRAM, "-reload").stdout.startswith("a: started\n")
        eventually(lambda: "word is put" in container.read_output(), "the job runs")
        assert container.pid == pid
        eventually(lambda: container.run(PROGRAM, "-ping").stdout == "ok\n", "it answers")
        container.send_signal(signal.SIGTERM)
        assert container.wait() == 0


@pytest.mark.parametrize(
    "command", [[PROGRAM], [PROGRAM, "-config", "/nowhere/c.json5"]], ids=["none", "one that is missing"]
)
def test_plain_process_ends(tmp_path, command):
    """A plain process without configuration exits 78; so does anybody whose named configuration is not there."""
    done = subprocess.run(command, env={"AUTOPILOT_STATE": str(tmp_path)}, capture_output=True, text=True, check=False)
    assert done.returncode == 78
    assert done.stderr.startswith("autopilot: ")


def test_named_config_that_is_missing(tmp_path):
    """PID 1 does not wait for a configuration that was named and is not there: that is an error."""
    with PidNamespace(tmp_path, [PROGRAM], env={"CONTAINERPILOT": "/nowhere/c.json5"}) as container:
        assert container.wait() == 78
    assert "/nowhere/c.json5" in container.read_output()


@pytest.mark.parametrize("user", ["root", "nobody"])
def test_read_only_state(tmp_path, user):
    """The supervisor runs with its state beside its socket when neither /var/lib nor a home can be written."""
    config = tmp_path / "c.json5"
    socket = DEFAULT_SOCKET if user == "root" else "/run/mine/cp.socket"
    config.write_text(json.dumps({"jobs": [SLEEPER], "control": {"socket": socket}}))
    prepare = "mount -t tmpfs -o ro tmpfs /var/lib && mkdir -m 777 /run/mine"
    as_user = [] if user == "root" else NOBODY
    command = [*as_user, PROGRAM, "-config", str(config)]
    with PidNamespace(tmp_path, command, prepare=prepare, env={"HOME": "/nonexistent"}) as container:
        eventually(lambda: "sleeper: started" in container.read_output(), "it runs its job")
        assert container.run(PROGRAM, "-config", str(config), "-ping").stdout == "ok\n"
        words = json.loads(container.run("cat", f"{socket}.state/last-words.json").stdout)
        assert words["state"] == "running"
        container.send_signal(signal.SIGTERM)
        assert container.wait() == 0


def test_two_in_one_container(tmp_path):
    """Two with a socket each run side by side: the second's state goes beside its socket."""
    second = {"name": "second", "exec": f"{PROGRAM} -config {tmp_path}/b"}
    for name, jobs in (("a", [second]), ("b", [{**SLEEPER, "name": "b"}])):
        spec = {"jobs": jobs, "control": {"socket": f"/run/{name}.socket"}}
        (tmp_path / name).write_text(json.dumps(spec))
    prepare = "mount -t tmpfs tmpfs /var/lib"
    with PidNamespace(tmp_path, [PROGRAM, "-config", str(tmp_path / "a")], prepare=prepare) as container:
        eventually(lambda: "b: started" in container.read_output(), "the second runs its job")
        for name in ("a", "b"):
            assert container.run(PROGRAM, "-config", str(tmp_path / name), "-ping").stdout == "ok\n"
        places = ("/var/lib/autopilot", "/run/b.socket.state")
        assert container.run("ls", *(f"{place}/last-words.json" for place in places)).returncode == 0
        container.send_signal(signal.SIGTERM)
        assert container.wait() == 0


def test_default_socket(tmp_path):
    """Without `control.socket` it answers at /var/run/containerpilot.socket, to its own flags and to our verbs, which
    find it by themselves.
    """
    config = tmp_path / "c.json5"
    config.write_text(json.dumps({"jobs": [SLEEPER]}))
    env = {"CONTAINERPILOT": str(config)}
    with PidNamespace(tmp_path, [PROGRAM], prepare="mount -t tmpfs tmpfs /var/lib", env=env) as container:
        eventually(lambda: "sleeper: started" in container.read_output(), "it runs its job")
        assert container.run("ls", DEFAULT_SOCKET, "/var/lib/autopilot/last-words.json").returncode == 0
        assert container.run(PROGRAM, "-ping", env=env).stdout == "ok\n"
        assert container.run(PROGRAM, "-ping").stdout == "ok\n"  # no config: the default is meant
        assert "sleeper" in container.run(sys.executable, "-m", "autopilot", "status").stdout
        container.send_signal(signal.SIGTERM)
        assert container.wait() == 0
        assert "ContainerPilot" not in container.read_output()


def test_socket_that_cannot_be_had(tmp_path):
    """The supervisor exits with 78 and a message when it cannot make its socket: no client could reach it."""
    config = tmp_path / "c.json5"
    config.write_text(json.dumps({"jobs": [SLEEPER], "control": {"socket": "/var/lib/cp.socket"}}))
    prepare = "mount -t tmpfs -o ro tmpfs /var/lib"
    with PidNamespace(tmp_path, [PROGRAM, "-config", str(config)], prepare=prepare) as container:
        assert container.wait() == 78
    assert "cannot use the" in container.read_output() and "/var/lib/cp.socket" in container.read_output()
