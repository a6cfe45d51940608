"""A running supervisor renders files, with a real Consul where they use one."""

from __future__ import annotations

import grp
import os
import pwd
import stat

import pytest

from lab import consul_agents
from tests.app.harness import SupervisorProcess, eventually, shell

READER = shell("trap 'echo reloaded' HUP; cat $FILE; while :; do sleep 0.05; done")


@pytest.fixture
def files(tmp_path):
    return tmp_path / "conf.j2", tmp_path / "conf"


def build_spec(files, text, *, agent=None, **on_change):
    source, target = files
    source.write_text(text)
    template = {"source": str(source), "destination": str(target), "on_change": on_change}
    reader = {"name": "reader", "exec": READER, "env": {"FILE": str(target)}}
    found = {"templates": [template], "jobs": [reader]}
    return {**found, "consul": agent.http_address} if agent else found


def put_key(agent, key, value):
    agent.put(f"/v1/kv/{key}", value.encode())


@pytest.mark.slow
def test_before_the_first_job(tmp_path, files):
    """A template that uses nothing of Consul is rendered before the first job starts, with and without Consul."""
    with SupervisorProcess(tmp_path, build_spec(files, "slot={{ env.SLOT }}\n"), env={"SLOT": "s9"}) as pilot:
        pilot.wait_for_event("reader", "slot=s9")


def test_mode_and_owner(tmp_path, files):
    """The file has its mode and owner when the first job starts, also when nothing but these was wrong."""
    files[1].write_text("secret\n")
    files[1].chmod(0o666)
    config = build_spec(files, "secret\n")
    owner = {"user": "nobody", "group": "nogroup"} if os.geteuid() == 0 else {}
    config["templates"][0] |= {"mode": "0640", **owner}
    with SupervisorProcess(tmp_path, config) as pilot:
        pilot.wait_for_event("reader", "secret")
        found = files[1].stat()
    assert stat.S_IMODE(found.st_mode) == 0o640
    assert not owner or (found.st_uid, found.st_gid) == (pwd.getpwnam("nobody").pw_uid, grp.getgrnam("nogroup").gr_gid)


@pytest.mark.slow
def test_bad_template_keeps_the_file(tmp_path, files):
    """A template that cannot be rendered keeps the existing file, and the log names file, line and reason."""
    files[1].write_text("old\n")
    with SupervisorProcess(tmp_path, build_spec(files, "\n{{ env.NOPE }}")) as pilot:
        pilot.wait_for_event("reader", "old")
        line = pilot.wait_for(lambda line: str(line.get("trouble", "")).startswith("template-"))
        assert str(files[0]) in line["message"] and "NOPE" in line["message"] and "stays" in line["message"]


@pytest.mark.real("consul")
def test_change_is_rendered_and_told(tmp_path, files):
    """A changed key is in the file, and then the job gets its SIGHUP; one change, one reload."""
    with consul_agents.start_agent() as agent:
        put_key(agent, "autopilot/slots", "4")
        files[1].write_text("N=4\n")  # so the first rendering changes nothing
        with SupervisorProcess(
            tmp_path, build_spec(files, "N={{ key('autopilot/slots') }}\n", agent=agent, reload="reader")
        ) as pilot:
            pilot.wait_for_event("reader", "N=4")
            put_key(agent, "autopilot/slots", "8")
            pilot.wait_for_event("reader", "reloaded")
            assert files[1].read_text() == "N=8\n"
            assert len(pilot.find_events("template written")) == 1


@pytest.mark.real("consul")
@pytest.mark.parametrize("on_change", ["reload", "restart"])
def test_the_first_rendering_is_no_change(tmp_path, files, on_change):
    """A job starts once, when its file is there, and hears of later changes only; the command runs for these alone."""
    ran = tmp_path / "ran"
    with consul_agents.start_agent() as agent:
        spec = build_spec(
            files, "{{ key('k') }}\n", agent=agent, exec=shell(f"echo x >> {ran}"), **{on_change: "reader"}
        )
        spec["jobs"].append({"name": "other", "exec": ["sleep", "1000"]})
        with SupervisorProcess(tmp_path, spec) as pilot:
            pilot.wait_for_event("other", "started")
            pilot.wait_for(lambda line: str(line.get("trouble", "")).startswith("template-"))
            assert "template.conf rendered" in pilot.run_verb("why", "reader").stdout
            put_key(agent, "k", "first")
            pilot.wait_for_event("reader", "first")
            assert not ran.exists()
            put_key(agent, "k", "second")
            pilot.wait_for_event("reader", "reloaded" if on_change == "reload" else "second")
            eventually(ran.exists, "the command ran")
            starts = [line for line in pilot.lines if line.get("job") == "reader" and line["message"] == "started"]
            assert len(starts) == (1 if on_change == "reload" else 2)
            assert "cat:" not in " ".join(pilot.list_job_output("reader"))


@pytest.mark.slow
def test_only_a_process_with_a_handler_gets_sighup(tmp_path, files):
    """A reload kills no process that has no handler for SIGHUP, and reaches one that sets its handler late."""
    deaf = {"name": "deaf", "exec": ["sleep", "1000"]}
    slow = {"name": "slow", "exec": shell("sleep 1; trap 'echo reloaded' HUP; while :; do sleep 0.05; done")}
    config = build_spec(files, "one\n")
    other = {**config["templates"][0], "destination": f"{files[1]}2", "on_change": {"reload": "deaf"}}
    with SupervisorProcess(tmp_path, config | {"jobs": [deaf, slow]}) as pilot:
        pilot.wait_for_event("slow", "started")
        templates = [{**config["templates"][0], "on_change": {"reload": "slow"}}, other]
        files[0].write_text("two\n")
        assert pilot.reload({**config, "jobs": [deaf, slow], "templates": templates}).returncode == 0
        pilot.wait_for_event("slow", "reloaded")
        pilot.wait_for(lambda line: line.get("event") == "reload_not_sent" and line["job"] == "deaf")
        assert not pilot.find_events("ended")


@pytest.mark.real("consul")
def test_missing_key_and_its_return(tmp_path, files):
    """A deleted key keeps the file and is a condition; when it is back the file is rendered again."""
    with consul_agents.start_agent() as agent:
        put_key(agent, "k", "1")
        with SupervisorProcess(tmp_path, build_spec(files, "{{ key('k') }}", agent=agent)) as pilot:
            eventually(files[1].exists, "rendered")
            agent.request("/v1/kv/k", method="DELETE")
            pilot.wait_for(lambda line: 'no key "k"' in line["message"])
            assert files[1].read_text() == "1"
            put_key(agent, "k", "2")
            eventually(lambda: files[1].read_text() == "2", "rendered again")
            pilot.wait_for(lambda line: line["message"].startswith("condition cleared"))


@pytest.mark.real("consul")
def test_services_and_a_command(tmp_path, files):
    """The file follows the instances of a service, and the command runs after each change."""
    text = "{% for i in service('db') %}{{ i.address }}:{{ i.port }}\n{% endfor %}"
    ran = tmp_path / "ran"
    with (
        consul_agents.start_agent() as agent,
        SupervisorProcess(tmp_path, build_spec(files, text, agent=agent, exec=shell(f"echo x >> {ran}"))),
    ):
        eventually(files[1].exists, "rendered without any instance")
        for number in (1, 2):
            body = {"ID": f"db-{number}", "Name": "db", "Address": "10.0.0.1", "Port": number}
            agent.put("/v1/agent/service/register", body)
        eventually(lambda: files[1].exists() and files[1].read_text() == "10.0.0.1:1\n10.0.0.1:2\n", "both")
        agent.put("/v1/agent/service/deregister/db-1")
        eventually(lambda: files[1].read_text() == "10.0.0.1:2\n", "one left")
        eventually(lambda: ran.exists() and len(ran.read_text().split()) >= 2, "the command ran")


@pytest.mark.real("consul")
def test_restart(tmp_path, files):
    """With on_change: restart a changed file restarts the job."""
    with consul_agents.start_agent() as agent:
        put_key(agent, "k", "1")
        with SupervisorProcess(tmp_path, build_spec(files, "{{ key('k') }}\n", agent=agent, restart="reader")) as pilot:
            eventually(files[1].exists, "rendered")
            since = len(pilot.lines)
            put_key(agent, "k", "2")
            pilot.wait_for_event("reader", "started", since=since)
            pilot.wait_for_event("reader", "2", since=since)


@pytest.mark.real("consul")
def test_consul_away(tmp_path, files):
    """While Consul is unreachable the file stays, and changes are rendered at its return."""
    with consul_agents.start_agent() as agent:
        put_key(agent, "k", "1")
        with SupervisorProcess(tmp_path, build_spec(files, "{{ key('k', 'gone') }}", agent=agent)) as pilot:
            eventually(files[1].exists, "rendered")
            agent.kill()
            pilot.wait_for(lambda line: line.get("trouble") == "consul-lost")
            assert files[1].read_text() == "1"
            agent.start()
            agent.await_leader()
            put_key(agent, "k", "3")
            eventually(lambda: files[1].read_text() == "3", "rendered on its return")
