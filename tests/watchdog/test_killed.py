"""The watchdog itself is killed in the middle of a pass: what it remembers stays sound, and the next pass goes on."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
from autopilot_watchdog.core.memory import FORMAT_VERSION
from autopilot_watchdog.engine.engine_http import EngineClient

from lab.tiny_images import format_healthy_script
from tests.watchdog.site import Site, eventually
from tests.watchdog.test_engines import get_slot, kill_container

pytestmark = pytest.mark.real("docker", "podman", "registry")

LABEL = "autopilot.watchdog"


class InterceptingProxy:
    """Proxy in front of the engine's socket that calls `then` once, at the first matching call.

    `then` is called before the engine gets the call or, with `answered`, between the engine's answer and its delivery
    to the watchdog. The connection is closed if `then` returns False.
    """

    def __init__(self, target: str, call: str, answered: bool, then: Callable[[], bool]) -> None:
        self._target = target
        self._call = call.encode()
        self._answered = answered
        self._then = then
        self.hit = threading.Event()

    def serve(self, listener: socket.socket) -> None:
        """Accept connections until the listener is closed."""
        with suppress(OSError):  # closed at the end
            while True:
                client, _ = listener.accept()
                threading.Thread(target=self._forward, args=(client,), daemon=True).start()

    def _forward(self, client: socket.socket) -> None:
        with client, socket.socket(socket.AF_UNIX) as server, suppress(OSError):
            server.connect(self._target)
            request = client.recv(1 << 20)  # the watchdog's calls are small
            hit = self._call in request.split(b"\r\n")[0] and not self.hit.is_set()
            if hit:
                self.hit.set()
            if hit and not self._answered and not self._then():
                return
            server.sendall(request)
            threading.Thread(target=_copy, args=(client, server), daemon=True).start()
            while data := server.recv(65536):
                if hit and self._answered and not self._then():
                    return
                client.sendall(data)


def _copy(client: socket.socket, server: socket.socket) -> None:
    with suppress(OSError):
        while data := client.recv(65536):
            server.sendall(data)


@pytest.fixture(autouse=True)
def engine_link(site: Site) -> None:
    """Let the configuration name a link to the engine's socket, which a test can point elsewhere."""
    point_engine_link_to(site, site.service.socket)
    site.write_config(engines={site.engine: str(site.folder / "engine.sock")})


def point_engine_link_to(site: Site, path: str) -> None:
    """Let the configured path of the engine's socket lead to another socket."""
    new = site.folder / "engine.sock.new"
    new.symlink_to(path)
    new.rename(site.folder / "engine.sock")


@contextmanager
def intercept_call(site: Site, call: str, answered: bool, then: Callable[[], bool]) -> Iterator[InterceptingProxy]:
    """Put a proxy before the engine's socket, under the path in the configuration."""
    path = str(site.folder / "between.sock")
    found = InterceptingProxy(site.service.socket, call, answered, then)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        threading.Thread(target=found.serve, args=(listener,), daemon=True).start()
        point_engine_link_to(site, path)
        yield found
    point_engine_link_to(site, site.service.socket)
    os.unlink(path)


def run_and_kill_at(site: Site, call: str, *, answered: bool) -> None:
    """Run one pass and kill it with SIGKILL at that call to the engine."""
    process: list[subprocess.Popen[bytes]] = []

    def kill_process() -> bool:
        process[0].send_signal(signal.SIGKILL)
        return False

    with intercept_call(site, call, answered, kill_process):
        process.append(
            subprocess.Popen(site.build_command("run"), stderr=subprocess.DEVNULL, env=site.build_environment())
        )
        assert process[0].wait(60) == -signal.SIGKILL, f"it never came to {call}"


def list_own_containers(site: Site) -> list[dict[str, Any]]:
    """Return every container with the watchdog's label, throwaway ones too."""
    query = {"all": "true", "filters": json.dumps({"label": [LABEL]})}
    found: list[dict[str, Any]] = site.ask_engine("/containers/json", query)
    return [item for item in found if item["Labels"][LABEL].startswith(str(site.state_folder))]


POINTS = [
    ("/images/create", False),  # the pull
    ("/images/create", True),
    ("/tag", False),  # pulled, not yet noted
    ("/containers/create", False),
    ("/containers/create", True),  # there is a container that nobody knows of
    ("/start", False),
    ("/start", True),  # it runs, and nobody knows
]


@pytest.mark.parametrize(("call", "answered"), POINTS)
def test_killed_while_filling(site: Site, call: str, answered: bool) -> None:
    """After a kill at any call, the next pass leaves one container per slot, under names of their own, and no other."""
    site.push_image(format_healthy_script(f"# {site.folder.name}\nsleep 100000"))
    site.write_config({"count": 2})
    run_and_kill_at(site, call, answered=answered)
    assert all(record["pulled"] for record in site.get_image_record()["records"].values()), (
        "its image is ours to remove one day"
    )
    site.run_once()
    eventually(lambda: is_settled(site), 20, "one running container per slot, and nothing else")
    before = {item["Id"] for item in list_own_containers(site)}
    site.run_once()
    assert {item["Id"] for item in list_own_containers(site)} == before


def is_settled(site: Site) -> bool:
    """Return True if every slot has one running container, and there is no other."""
    found = list_own_containers(site)
    slots = sorted(item["Labels"]["autopilot.slot"] for item in found)
    return slots == ["wn-01", "wn-02"] and all(item["State"] == "running" for item in found)


def test_killed_while_removing(site: Site) -> None:
    """A life whose removal was cut off is counted once, removed by the next pass, and its slot filled."""
    site.push_image()
    site.run_once()
    kill_container(site, get_slot(site)["container"])
    eventually(lambda: get_slot(site)["state"] == "starting", 10, "the engine has seen it")
    ends = "lives_good", "lives_neutral", "lives_failed"
    before = sum(site.read_state()["counts"].get(end, 0) for end in ends)
    run_and_kill_at(site, "DELETE", answered=False)
    site.run_once()
    assert sum(site.read_state()["counts"].get(end, 0) for end in ends) == before + 1
    assert [item["State"] for item in list_own_containers(site)] == ["running"]


def test_killed_in_preflight(site: Site) -> None:
    """The throwaway container of a pre-flight that was cut off is removed by the next pass, whatever that does."""
    site.push_image()
    site.write_config({"preflight": {"exec": ["sleep", "1000"]}})
    run_and_kill_at(site, "/wait", answered=False)
    assert len(list_own_containers(site)) == 1
    site.run_verb("pause")
    site.run_once()
    assert not list_own_containers(site)


def test_start_under_way_is_not_doubled(site: Site) -> None:
    """A start that the engine is still busy with when the next watchdog comes leads to one container, not to two."""
    site.push_image()
    run_and_kill_at(site, "/start", answered=False)
    (made,) = list_own_containers(site)

    def start() -> bool:
        """Let the start come true now: after the look, before the removal."""
        EngineClient(site.engine, site.service.socket).request_json("POST", f"/containers/{made['Id']}/start")
        return True

    with intercept_call(site, "DELETE", answered=False, then=start) as proxy:
        site.run_once()
    assert proxy.hit.is_set()
    assert [(item["Id"], item["State"]) for item in list_own_containers(site)] == [(made["Id"], "running")]
    assert get_slot(site)["state"] == "running"


def test_any_moment(site: Site) -> None:
    """Twelve passes, each killed a little later than the one before: the state can be read, and all ends well."""
    site.push_image()
    site.write_config({"count": 2})
    for number in range(12):
        process = subprocess.Popen(site.build_command("run"), stderr=subprocess.DEVNULL, env=site.build_environment())
        with suppress(subprocess.TimeoutExpired):
            process.wait(0.2 + 0.1 * number)
        process.kill()
        process.wait()
        state = site.state_folder / "state.json"
        assert not state.exists() or json.loads(state.read_text())["format"] == FORMAT_VERSION
        running = [item["Labels"]["autopilot.slot"] for item in list_own_containers(site) if item["State"] == "running"]
        assert len(running) == len(set(running)), "a slot doubled"
    site.run_once()
    eventually(lambda: is_settled(site), 20, "one running container per slot, and nothing else")
