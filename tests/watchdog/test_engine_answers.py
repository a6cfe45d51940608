"""Answers of an engine that break off or are nonsense, wherever it is asked: an error of that engine, and no other."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from autopilot_watchdog.config.config_reader import parse_config
from autopilot_watchdog.core.memory import ImageMemory, Memory
from autopilot_watchdog.core.observation import EngineDown
from autopilot_watchdog.engine.docker_engine import DockerEngine
from autopilot_watchdog.engine.engine import EngineError
from autopilot_watchdog.shell import observe
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.property_examples import scale_examples
from tests.watchdog.hostile_servers import serve_answers
from tests.watchdog.scenes import IMAGE, A
from tests.watchdog.test_hostile_neighbours import ANY_JSON, WRONG_VALUES, name_case

Answers = dict[str, tuple[int, dict[str, str], bytes]]
VERSION = json.dumps({"ApiVersion": "1.41", "MinAPIVersion": "1.12"}).encode()
GROUP = parse_config(json.dumps({"slots": [{"name": "wn-NN", "image": IMAGE, "engine": "docker"}]})).slots[0]
CALLS: dict[str, Callable[[DockerEngine], Any]] = {
    "list": lambda engine: engine.list_containers(),
    "start": lambda engine: engine.start_container(GROUP, 1, A, host="h1", state_folder=None),
    "remove": lambda engine: engine.remove_container("c1"),
    "stop": lambda engine: engine.stop_container("c1", 1),
    "logs": lambda engine: engine.read_logs("c1"),
    "exec": lambda engine: engine.execute_command("c1", ("drain",), 1),
    "events": lambda engine: list(engine.watch_container_ends()),
    "image": lambda engine: engine.has_image("r/i", A),
    "pull": lambda engine: engine.pull_image("r/i", A, auth=None, timeout=1),
    "remove image": lambda engine: engine.remove_image("r/i", A),
    "pre-flight": lambda engine: engine.run_preflight(GROUP, A, ("true",), 1),
    "leftovers": lambda engine: engine.remove_preflight_containers(),
    "platform": lambda engine: engine.get_platform(),
}
BROKEN = {
    "nothing": b"",
    "half a status": b"HTTP/1.1 2",
    "no HTTP": b"SSH-2.0-x\r\n",
    "half a header": b"HTTP/1.1 200 OK\r\nContent-Le",
    "half a body": b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{",
    "half a chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\n{",
    "no chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    "half a refusal": b"HTTP/1.1 500 No\r\nContent-Length: 100\r\n\r\n{",
    "strange status": b"HTTP/1.1 999999999999 OK\r\n\r\n",
    "strange version": b"HTTP/9.9 200 OK\r\n\r\n{}",
    "no content": b"HTTP/1.1 204 No\r\n\r\n",
    "redirect": b"HTTP/1.1 307 Go\r\nLocation: http://evil.test/\r\nContent-Length: 0\r\n\r\n",
    "switch": b"HTTP/1.1 101 UPGRADED\r\nUpgrade: tcp\r\n\r\n\1\0\0\0\xff\xff\xff\xffx",
    "frames": b"HTTP/1.1 200 OK\r\n\r\n" + b"\1\0\0\0\xff\xff\xff\xff" * 1000,
}


@contextlib.contextmanager
def serve_broken(path: str, answer: bytes) -> Iterator[None]:
    """Answer the questions for the version well and each other one with these bytes, then hang up."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen()

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                with connection, contextlib.suppress(OSError):
                    asked = connection.recv(65536)
                    well = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(VERSION), VERSION)
                    connection.sendall(well if asked.split()[1:2] in ([b"/_ping"], [b"/version"]) else answer)
                    connection.shutdown(socket.SHUT_WR)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


@pytest.mark.parametrize("answer", BROKEN.values(), ids=BROKEN)
def test_broken_answers(tmp_path: Path, answer: bytes) -> None:
    """Each call ends with a result or with an error of the engine, and no other error ends `watch`."""
    path = str(tmp_path / "docker.sock")
    with serve_broken(path, answer):
        for name, call in CALLS.items():
            with contextlib.suppress(EngineError, *([ValueError] if name == "events" else [])):  # as the stream says
                call(DockerEngine("docker", path, "owner"))


@pytest.mark.slow
@pytest.mark.parametrize("value", WRONG_VALUES, ids=name_case)
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_wrong_values(tmp_path: Path, call: Callable[[DockerEngine], Any], value: Any) -> None:
    """Each wrong value as an answer, in a list and in an object with an id, is an error of the engine at most."""
    path = str(tmp_path / "docker.sock")
    for document in (value, [value], {"Id": "c1", "StatusCode": value, "RepoDigests": value}):
        answers = {"/version": VERSION, "": json.dumps(document).encode()}
        canned: Answers = {end: (200, {}, body) for end, body in answers.items()}
        with serve_answers(canned, unix_path=path), contextlib.suppress(EngineError):
            call(DockerEngine("docker", path, "owner"))
        Path(path).unlink()


@pytest.mark.slow
@settings(max_examples=scale_examples(50), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(items=st.lists(ANY_JSON, max_size=3), document=ANY_JSON)
def test_any_containers(tmp_path_factory: pytest.TempPathFactory, items: list[Any], document: Any) -> None:
    """Whatever an engine tells of its containers, a look at it ends with a view, or says that it is down."""
    config = parse_config(json.dumps({"slots": [{"name": "wn-NN", "image": IMAGE, "engine": "docker"}]}))
    path = str(tmp_path_factory.mktemp("engine") / "docker.sock")
    listed = [{"Id": "c1", "Names": item, "Labels": item} for item in items] + [*items]
    answers = {
        "/version": VERSION,
        "/containers/json": json.dumps(listed if document else listed[: len(items)]).encode(),
        "/json": json.dumps({"State": document, "Config": {"Labels": document}, "HostConfig": document}).encode(),
    }
    with serve_answers({end: (200, {}, body) for end, body in answers.items()}, unix_path=path):
        memory = Memory(images={GROUP.image_key: ImageMemory()})
        found = observe.observe_engine(config, DockerEngine("docker", path, "owner"), memory)
    assert not (isinstance(found, EngineDown) and "internal error" in found.sentence), found


def test_another_engine_after_a_broken_connection(tmp_path: Path) -> None:
    """The version is asked for again after an engine was gone: a newer one may refuse the former version of the API."""
    path = str(tmp_path / "docker.sock")
    engine = DockerEngine("docker", path, "owner")
    listed: tuple[int, dict[str, str], bytes] = (200, {}, b"[]")
    with serve_answers({"/version": (200, {}, VERSION), "/containers/json": listed}, unix_path=path) as server:
        engine.list_containers()
        assert server.requests[-1][1].startswith("/v1.41/")
    Path(path).unlink()
    with pytest.raises(EngineError):
        engine.list_containers()
    newer = json.dumps({"ApiVersion": "1.52", "MinAPIVersion": "1.44"}).encode()
    with serve_answers({"/version": (200, {}, newer), "/containers/json": listed}, unix_path=path) as server:
        engine.list_containers()
        assert server.requests[-1][1].startswith("/v1.51/")


def test_ping_tells_the_version(tmp_path: Path) -> None:
    """An engine that tells its API version in answer to a ping is not asked for /version, a costly question."""
    path = str(tmp_path / "podman.sock")
    answers: Answers = {"/_ping": (200, {"Api-Version": "1.41"}, b"OK"), "/containers/json": (200, {}, b"[]")}
    with serve_answers(answers, unix_path=path) as server:
        engine = DockerEngine("podman", path, "owner")
        for _ in range(2):
            engine.list_containers()
        assert [request[1].partition("?")[0] for request in server.requests] == [
            "/_ping", "/v1.41/containers/json", "/v1.41/containers/json",
        ]  # fmt: skip


def test_newer_engine_is_asked_for_its_oldest_version(tmp_path: Path) -> None:
    """An engine that is newer than all known versions may refuse them: its oldest version is used then."""
    path = str(tmp_path / "docker.sock")
    version = json.dumps({"ApiVersion": "1.90", "MinAPIVersion": "1.60"}).encode()
    answers: Answers = {
        "/_ping": (200, {"Api-Version": "1.90"}, b"OK"),
        "/version": (200, {}, version),
        "/containers/json": (200, {}, b"[]"),
    }
    with serve_answers(answers, unix_path=path) as server:
        DockerEngine("docker", path, "owner").list_containers()
        assert server.requests[-1][1].startswith("/v1.60/")


@pytest.mark.parametrize("version", [b"[]", b"3", b'{"ApiVersion": "x"}', b"null"])
def test_nonsense_is_not_remembered(tmp_path: Path, version: bytes) -> None:
    """A version that is none is an error once, and is asked for again."""
    path = str(tmp_path / "docker.sock")
    engine = DockerEngine("docker", path, "owner")
    with serve_answers(
        {"/version": (200, {}, version), "/containers/json": (200, {}, b"[]")}, unix_path=path
    ) as server:
        with pytest.raises(EngineError):
            engine.list_containers()
        server.answers["/version"] = (200, {}, VERSION)
        assert engine.list_containers() == []
