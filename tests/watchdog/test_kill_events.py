"""The engine's events tell a lack of memory from an operator's kill."""

from __future__ import annotations

import json
import time
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from autopilot_watchdog.core.exit_verdict import FAILED, NEUTRAL, judge_exit
from autopilot_watchdog.engine.docker_engine import DockerEngine
from autopilot_watchdog.engine.engine_http import EngineClient
from autopilot_watchdog.engine.podman_engine import PodmanEngine

from tests.watchdog.hostile_servers import CannedServer, serve_answers
from tests.watchdog.site import Site, eventually
from tests.watchdog.test_engines import get_slot, is_slot_empty

VERSION = json.dumps({"ApiVersion": "1.41", "MinAPIVersion": "1.12"}).encode()
STARTED, ENDED = 1_800_000_000.0, 1_800_000_060.0
Answer = tuple[int, dict[str, str], bytes]


def format_time(seconds: float) -> str:
    """Format epoch seconds as an engine does."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def build_answers(events: Answer | None, **state: object) -> dict[str, Answer]:
    """Build the answers of an engine that has one dead container, in which a process ran out of memory."""
    whole = {
        "Status": "exited", "OOMKilled": True, "ExitCode": 137,
        "StartedAt": format_time(STARTED), "FinishedAt": format_time(ENDED), **state,
    }  # fmt: skip
    answers: dict[str, Answer] = {
        "/version": (200, {}, VERSION),
        "/containers/json": (200, {}, json.dumps([{"Id": "c1", "Names": ["/wn-01-x"]}]).encode()),
        "/containers/c1/json": (200, {}, json.dumps({"State": whole}).encode()),
    }
    return {**answers, "/events": events} if events else answers


def format_events(*events: object) -> Answer:
    """Format the engine's answer with these events."""
    return 200, {}, "".join(json.dumps(event) + "\n" for event in events).encode()


def build_kill(signal: str | None, action: str = "kill") -> dict[str, object]:
    """Build the event of a kill; one without a signal as Podman has it."""
    return {"Type": "container", "Action": action, "Actor": {"Attributes": {"signal": signal} if signal else {}}}


def judge(folder: Path, kind: type[DockerEngine], answers: dict[str, Answer]) -> tuple[str, str, CannedServer]:
    """Return verdict and code of the engine's one container, and the server that was asked."""
    path = str(folder / "engine.sock")
    with serve_answers(answers, unix_path=path) as server:
        (container,) = kind("engine", path, "owner").list_containers()
    end = judge_exit(container, good_after=120.0, booted=0.0)
    return end.verdict, end.code, server


KILLED, OOM = (NEUTRAL, "killed"), (FAILED, "oom")


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        (format_events(build_kill("9")), KILLED),
        (format_events(build_kill("SIGKILL")), KILLED),
        (format_events(build_kill("15"), build_kill("9")), KILLED),
        (format_events(build_kill("15")), OOM),
        (format_events(build_kill("1")), OOM),
        (format_events(build_kill("9", action="exec_die")), OOM),
        (format_events(), OOM),
        (format_events([], "x", None, {"Action": "kill", "Actor": []}), KILLED),
        ((200, {}, b"no json\n"), OOM),
        ((200, {"Content-Length": "1000"}, b"{}\n"), OOM),
        ((500, {}, b"{}"), OOM),
        (None, OOM),
    ],
    ids=[
        *("docker kill", "in words", "docker stop", "only asked to end", "hangup", "other", "none", "no signal"),
        *("no JSON", "broken off", "error", "no such call"),
    ],
)
def test_kill_after_lack_of_memory(tmp_path: Path, events: Answer | None, expected: tuple[str, str]) -> None:
    """A SIGKILL that somebody asked the engine for ended the container; without such an event the kernel did."""
    verdict, code, _ = judge(tmp_path, DockerEngine, build_answers(events))
    assert (verdict, code) == expected


def test_podman_words(tmp_path: Path) -> None:
    """Podman has an event for each stop, too."""
    verdict, code, server = judge(tmp_path, PodmanEngine, build_answers(format_events(build_kill(None, "stop"))))
    assert (verdict, code) == KILLED
    (asked,) = [path for _, path, _ in server.requests if "/events" in path]
    filters = json.loads(parse_qs(urlsplit(asked).query)["filters"][0])
    assert filters == {"type": ["container"], "container": ["c1"], "event": ["kill", "stop"]}


@pytest.mark.parametrize(
    "state", [{"OOMKilled": False}, {"ExitCode": 1}, {"ExitCode": 0}, {"Status": "running"}, {"FinishedAt": ""}]
)
def test_events_are_asked_for_only_in_doubt(tmp_path: Path, state: dict[str, object]) -> None:
    """The engine is asked for events only after a SIGKILL of a container that was short of memory."""
    _, _, server = judge(tmp_path, DockerEngine, build_answers(format_events(build_kill("9")), **state))
    assert not [path for _, path, _ in server.requests if "/events" in path]


@pytest.mark.real("docker", "registry")
def test_kill_after_a_payload_ran_out_of_memory(docker_site: Site) -> None:
    """A life whose payload ran out of memory and that is then killed has not failed; one that the kernel ended has."""
    site = docker_site
    folder, use_up_memory = "/var/lib/autopilot", "x=aaaaaaaa; while :; do x=$x$x; done"
    site.write_config({"memory": "64 MB"})
    site.push_image(
        f"if test -e {folder}/short; then {use_up_memory}; fi\n({use_up_memory})\ntouch {folder}/short\nsleep 100000"
    )
    site.run_once()
    eventually((site.state_folder / "slots/wn-01/short").exists, 20, "the payload ran out of memory")
    client = EngineClient(site.engine, site.service.socket)
    client.request_json("POST", f"/containers/{get_slot(site)['container']}/kill", timeout=60)
    eventually(lambda: is_slot_empty(site), 20, "the engine has ended it")
    site.run_once()
    eventually(lambda: is_slot_empty(site), 20, "the next life ran out of memory itself")
    site.run_once()
    ends = [(removed["code"], removed["verdict"]) for removed in site.read_audit("remove")]
    assert ends == [("killed", "neutral"), ("oom", "failed")]
