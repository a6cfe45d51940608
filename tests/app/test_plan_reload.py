"""Reload on real processes: only what changed is restarted, and a bad job spec changes nothing."""

from __future__ import annotations

import json
import signal
import socket
import threading
import urllib.request

import pytest

from tests.app.harness import PROMPT_S, VICTIM, SupervisorProcess, eventually, find_free_port, shell

pytestmark = pytest.mark.slow  # seconds each: for `make test`, not for `make check`

SLEEPER = {"name": "sleeper", "exec": ["sleep", "1000"]}
DEAF = {"name": "deaf", "exec": shell("trap '' TERM; while :; do sleep 0.05; done"), "stop": {"timeout": "200ms"}}


def build_spec(*jobs, **more):
    return {"jobs": list(jobs), **more}


def parse_answer(done) -> dict:
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_only_what_changed_is_restarted(tmp_path):
    """An unchanged job keeps its pid, a changed one gets another, a removed one ends, a new one starts; all is said."""
    with SupervisorProcess(
        tmp_path, build_spec(SLEEPER, {**SLEEPER, "name": "changed"}, {**SLEEPER, "name": "removed"})
    ) as pilot:
        pilot.wait_for_event("removed", "started")
        before = pilot.get_pids()
        new = build_spec(SLEEPER, {"name": "changed", "exec": "sleep 2000"}, {**SLEEPER, "name": "new"})
        done = parse_answer(pilot.reload(new, "-o", "json"))
        assert (done["unchanged"], done["restarted"]) == (["sleeper"], ["changed"])
        assert (done["started"], done["removed"]) == (["new"], ["removed"])
        after = pilot.get_pids()
        assert after["sleeper"] == before["sleeper"] and after["changed"] != before["changed"]
        assert set(after) == {"sleeper", "changed", "new"} and None not in after.values()
        (line,) = pilot.find_events("plan changed")
        assert line["restarted"] == ["changed"]


def test_a_reload_says_which_jobs_have_started(tmp_path):
    """A new job that waits, and one that was stopped and waits, are not called started; nor is one that never ran."""
    waits = {"when": {"source": "sleeper", "each": "unhealthy"}}
    hangs = {"name": "hangs", "exec": "sleep 1000", "when": {"source": "SIGUSR2", "each": "signal"}}
    idle = {"name": "idle", "exec": "true", **waits}
    health = {"exec": "true", "interval": 60}
    sleeper = {**SLEEPER, "health": health}
    with SupervisorProcess(tmp_path, build_spec(sleeper, hangs, idle)) as pilot:
        pilot.wait_for_event("sleeper", "started")
        pilot.send_signal(signal.SIGUSR2)
        pilot.wait_for_event("hangs", "started")
        new = [{**hangs, "exec": "sleep 2000"}, {**idle, "exec": "false"}, {"name": "late", "exec": "true", **waits}]
        done = parse_answer(pilot.reload(build_spec(sleeper, *new, {**SLEEPER, "name": "now"}), "-o", "json"))
        assert (done["started"], done["restarted"]) == (["now"], [])
        assert (done["not_started"], done["updated"]) == (["late", "hangs"], ["idle"])
        (line,) = pilot.find_events("plan changed")
        assert (line["added"], line["restarted"], line["updated"]) == (["late", "now"], ["hangs"], ["idle"])
        text = pilot.reload(build_spec(sleeper, {"name": "c", "exec": "true", **waits})).stdout
        assert "c: has not started: see `autopilot why`" in text.splitlines()


def test_a_reload_starts_no_job_without_its_lock(tmp_path):
    """A changed job that waits for its lock has not started, however often it is changed."""
    lock = {"name": "l", "before": "locked", "ttl": 10}
    section = {"consul": f"127.0.0.1:{find_free_port()}", "locks": [lock]}  # nobody answers: the lock stays closed
    with SupervisorProcess(tmp_path, build_spec(SLEEPER, {**SLEEPER, "name": "locked"}, **section)) as pilot:
        pilot.wait_for_event("sleeper", "started")
        for seconds in ("2000", "3000"):
            locked = {"name": "locked", "exec": ["sleep", seconds]}
            done = parse_answer(pilot.reload(build_spec(SLEEPER, locked, **section), "-o", "json"))
            assert (done["started"], done["restarted"], done["not_started"]) == ([], [], ["locked"])
        assert pilot.get_pids()["locked"] is None


def test_other_rules_keep_the_process(tmp_path):
    """Another health check, another stop, other restarts: in effect at once, with the same pid."""
    job = {**SLEEPER, "health": {"exec": "true", "interval": 60}}
    with SupervisorProcess(tmp_path, build_spec(job)) as pilot:
        pilot.wait_for_event("sleeper", "marked healthy")
        before, line_count = pilot.get_pids(), len(pilot.lines)
        job |= {"restarts": "unlimited", "stop": {"signal": "SIGINT"}, "health": {"exec": "false", "interval": "100ms"}}
        assert parse_answer(pilot.reload(build_spec(job), "-o", "json"))["updated"] == ["sleeper"]
        pilot.wait_for_event("sleeper", "marked unhealthy", since=line_count)
        assert pilot.get_pids() == before
        pilot.stop()
        assert "SIGINT" in pilot.wait_for_event("sleeper", "ended")["message"]


def test_a_bad_job_spec_changes_nothing(tmp_path):
    """Every problem with its place, exit code 78, every pid as before; the trouble is shown until a reload works."""
    with SupervisorProcess(tmp_path, build_spec(SLEEPER)) as pilot:
        pilot.wait_for_event("sleeper", "started")
        before = pilot.get_pids()
        done = pilot.reload('{jobs: [{name: "sleeper", exec: "sleep 1000", healht: 1},\n {nme: "x", exec: "true"}]}')
        assert done.returncode == 78
        assert "autopilot.json5:1:" in done.stderr and "autopilot.json5:2:" in done.stderr
        assert pilot.get_pids() == before
        assert "everything continues as before" in pilot.get_status()["troubles"]["reload"]
        pilot.config.unlink()
        assert pilot.run_verb("reload").returncode == 78
        assert parse_answer(pilot.reload(build_spec(SLEEPER), "-o", "json"))["unchanged"] == ["sleeper"]
        assert pilot.get_pids() == before and not pilot.get_status()["troubles"]
        assert pilot.stop() == 0


def test_what_is_settled_is_refused(tmp_path):
    """A key that this life was built on cannot change: nothing of that reload is in effect."""
    with SupervisorProcess(tmp_path, build_spec(SLEEPER)) as pilot:
        pilot.wait_for_event("sleeper", "started")
        done = pilot.reload(
            build_spec(SLEEPER, {**SLEEPER, "name": "new"}, control={"socket": str(tmp_path / "other")})
        )
        assert done.returncode == 78 and "control.socket: cannot change" in done.stderr
        assert set(pilot.get_pids()) == {"sleeper"}


def test_a_deaf_job_leaks_no_copy(tmp_path):
    """Reload after reload, there is one process of a job that ignores SIGTERM, and never two at once."""
    with SupervisorProcess(tmp_path, build_spec(DEAF)) as pilot:
        pilot.wait_for_event("deaf", "started")
        for round in range(3):
            assert pilot.reload(build_spec({**DEAF, "env": {"ROUND": str(round)}})).returncode == 0
        order = [line["message"].split(",")[0] for line in pilot.lines if line.get("job") == "deaf"]
        runs = [event for event in order if event in ("started", "ended")]
        assert runs == ["started", "ended"] * 3 + ["started"]


def test_a_job_that_leaves_slowly_is_still_checked(tmp_path):
    """A removed job is checked until it has stopped, and its pre-stop job runs: the job spec has neither."""
    slow = {**DEAF, "stop": {"timeout": "2s"}, "health": {"exec": "true", "interval": "100ms"}}
    stop_hook = {"name": "farewell", "exec": ["echo", "goodbye"], "when": {"source": "deaf", "once": "stopping"}}
    with SupervisorProcess(tmp_path, build_spec(SLEEPER, slow, stop_hook)) as pilot:
        pilot.wait_for_event("deaf", "marked healthy")
        assert parse_answer(pilot.reload(build_spec(SLEEPER), "-o", "json"))["removed"] == ["deaf", "farewell"]
        assert pilot.list_job_output("farewell") == ["goodbye"]
        assert set(pilot.get_pids()) == {"sleeper"} and pilot.stop() == 0


def test_reloads_at_once_take_their_turns(tmp_path):
    """Eight people reload at the same moment: each gets an answer, and the job spec is in effect."""
    with SupervisorProcess(tmp_path, build_spec(SLEEPER)) as pilot:
        pilot.wait_for_event("sleeper", "started")
        before = pilot.get_pids()["sleeper"]
        pilot.write_spec(build_spec(SLEEPER, {**SLEEPER, "name": "new"}))
        codes = []
        people = [threading.Thread(target=lambda: codes.append(pilot.run_verb("reload").returncode)) for _ in range(8)]
        for person in people:
            person.start()
        for person in people:
            person.join()
        assert codes == [0] * 8
        assert pilot.get_pids()["sleeper"] == before
        assert len([line for line in pilot.lines if line.get("job") == "new" and line["message"] == "started"]) == 1


def test_a_reload_holds_no_job_up(tmp_path):
    """While job specs are read again and again, a killed job is restarted as quickly as ever."""
    with SupervisorProcess(tmp_path, build_spec(VICTIM)) as pilot:
        pilot.wait_for_event("victim", "started")
        enough = threading.Event()

        def reload_on():
            while not enough.is_set():
                pilot.run_verb("reload")

        busy = threading.Thread(target=reload_on)
        busy.start()
        try:
            assert pilot.measure_restart_delay("victim") < PROMPT_S
        finally:
            enough.set()
            busy.join()


def test_the_environment_is_read_again(tmp_path):
    """Templates of the job spec are filled in anew."""
    spec_text = '{jobs: [{name: "a", exec: ["sleep", "{{ .SECONDS | default "1000" }}"]}]}'
    with SupervisorProcess(tmp_path, spec_text, env={"SECONDS": "999"}) as pilot:
        pilot.wait_for_event("a", "started")
        before = pilot.get_pids()
        assert parse_answer(pilot.reload(spec_text, "-o", "json"))["unchanged"] == ["a"]
        assert parse_answer(pilot.reload(spec_text.replace("SECONDS", "OTHER"), "-o", "json"))["restarted"] == ["a"]
        assert pilot.get_pids() != before


def test_logging_changes_at_once(tmp_path):
    """Another output and level from the reload on."""
    log = tmp_path / "log"
    with SupervisorProcess(tmp_path, build_spec(SLEEPER)) as pilot:
        pilot.wait_for_event("sleeper", "started")
        logging = {"output": str(log), "format": "json", "level": "DEBUG"}
        pilot.reload(build_spec({**SLEEPER, "exec": "sleep 2000"}, logging=logging))
        eventually(lambda: '"stopping"' in log.read_text(), "a debug line in the file")
        assert pilot.stop() == 0
        assert "exit 0" in log.read_text() and not pilot.find_events("exit 0")


def test_templates_change_at_once(tmp_path):
    """A template that is new in the job spec is rendered by the reload."""
    source, destination = tmp_path / "t.j2", tmp_path / "out"
    source.write_text("hello {{ env.WHO }}\n")
    with SupervisorProcess(tmp_path, build_spec(SLEEPER), env={"WHO": "world"}) as pilot:
        pilot.wait_for_event("sleeper", "started")
        templates = [{"source": str(source), "destination": str(destination)}]
        assert pilot.reload(build_spec(SLEEPER, templates=templates)).returncode == 0
        assert destination.read_text() == "hello world\n"


def fetch_metrics(port: int) -> dict[str, str]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=60) as answer:
        lines = answer.read().decode().splitlines()
    return dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))


def is_answering(port: int) -> bool:
    try:
        return bool(fetch_metrics(port))
    except OSError:
        return False


def test_telemetry_comes_moves_and_goes(tmp_path):
    """The port is opened, moved and closed by reloads; a metric that stays keeps its value."""
    first, second = find_free_port(), find_free_port()
    counter = {"name": "jobs_done", "help": "h", "type": "counter"}

    def build_telemetry_spec(port, *metrics):
        return {"port": port, "interfaces": ["static:127.0.0.1"], "metrics": list(metrics)}

    with SupervisorProcess(tmp_path, build_spec(SLEEPER)) as pilot:
        pilot.wait_for_event("sleeper", "started")
        pilot.reload(build_spec(SLEEPER, telemetry=build_telemetry_spec(first, counter)))
        eventually(lambda: is_answering(first), "the port answers")
        assert pilot.run_verb("metric", "jobs_done=3").returncode == 0
        gauge = {"name": "depth", "help": "h", "type": "gauge"}
        pilot.reload(build_spec(SLEEPER, telemetry=build_telemetry_spec(second, counter, gauge)))
        eventually(lambda: is_answering(second), "the other port answers")
        found = fetch_metrics(second)
        assert (found["jobs_done"], found["depth"]) == ("3.0", "0.0")
        eventually(lambda: not is_answering(first), "the old port is closed")
        pilot.reload(build_spec(SLEEPER))
        eventually(lambda: not is_answering(second), "the port is closed")


def list_troubles(pilot) -> set[str]:
    return set(pilot.get_status()["troubles"])


@pytest.mark.parametrize("moved", [True, False])
def test_the_trouble_of_a_taken_port_ends(tmp_path, moved):
    """With another port, or none, nobody is told any more that the old one is taken."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        telemetry = {"port": taken.getsockname()[1], "interfaces": ["static:127.0.0.1"]}
        with SupervisorProcess(tmp_path, build_spec(SLEEPER, telemetry=telemetry)) as pilot:
            pilot.wait_for(lambda line: line.get("trouble") == "telemetry-port")
            other = {"telemetry": {**telemetry, "port": find_free_port()}} if moved else {}
            assert pilot.reload(build_spec(SLEEPER, **other)).returncode == 0
            eventually(lambda: not list_troubles(pilot), "no trouble")


def test_the_troubles_of_a_consul_end_with_it(tmp_path):
    """Of a Consul that is not in use any more nothing is said."""
    with SupervisorProcess(tmp_path, build_spec(SLEEPER, consul="127.0.0.1:1")) as pilot:
        pilot.wait_for(lambda line: line.get("trouble") == "consul-lost")
        assert pilot.reload(build_spec(SLEEPER)).returncode == 0
        assert not list_troubles(pilot)


def test_the_trouble_of_a_template_without_consul_ends(tmp_path):
    """It stays while a template looks at a Consul that is not there, and ends when there is one, or no template."""
    source = tmp_path / "t.j2"
    source.write_text("{{ key('k') }}\n")
    templates = [{"source": str(source), "destination": str(tmp_path / "out")}]
    with SupervisorProcess(tmp_path, build_spec(SLEEPER, templates=templates)) as pilot:
        pilot.wait_for(lambda line: line.get("trouble") == "template-consul")
        assert pilot.reload(build_spec(SLEEPER, templates=templates)).returncode == 0
        assert list_troubles(pilot) == {"template-consul"}
        assert pilot.reload(build_spec(SLEEPER, templates=templates, consul="127.0.0.1:1")).returncode == 0
        assert "template-consul" not in list_troubles(pilot)
        assert pilot.reload(build_spec(SLEEPER, templates=templates)).returncode == 0
        assert list_troubles(pilot) == {"template-consul"}
        assert pilot.reload(build_spec(SLEEPER)).returncode == 0
        assert not list_troubles(pilot)


def test_the_trouble_of_a_missing_address_ends(tmp_path):
    """A job whose interface is named right by a reload has an address."""
    job = {**SLEEPER, "port": 80, "interfaces": ["nosuch0"], "health": {"exec": "true", "interval": 60}}
    with SupervisorProcess(tmp_path, build_spec(job, consul="127.0.0.1:1")) as pilot:
        pilot.wait_for(lambda line: line.get("trouble") == "address-sleeper")
        right = {**job, "interfaces": ["static:127.0.0.1"]}
        assert pilot.reload(build_spec(right, consul="127.0.0.1:1")).returncode == 0
        assert "address-sleeper" not in list_troubles(pilot)


def test_the_lifetime_can_be_shortened(tmp_path):
    """A life that was to last for an hour ends when a reload says that it is over."""
    drain = {"exec": "true", "until": "true"}
    with SupervisorProcess(tmp_path, build_spec(SLEEPER, lifetime={"max": "1h", "drain": drain})) as pilot:
        pilot.wait_for(lambda line: line["message"].startswith("lifetime begun"))
        pilot.reload(build_spec(SLEEPER, lifetime={"max": "10ms", "drain": drain}), "--no-wait")
        assert pilot.wait() == 0
        assert pilot.read_last_words()["reason"] == "lifetime"
