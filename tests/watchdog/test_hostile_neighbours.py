"""Containers, registries, Consul and engines that lie: each lie is "nothing known" about the liar alone."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import socket
import time
from pathlib import Path
from typing import Any

import pytest
from autopilot_watchdog.bounded_json import MAX_DEPTH, get_integer, get_list, get_object, get_text, parse_json
from autopilot_watchdog.config.config_reader import ConfigError, parse_config
from autopilot_watchdog.core.memory import Memory
from autopilot_watchdog.core.memory_updates import apply_registry_answers
from autopilot_watchdog.core.observation import Container, LastWords, RegistryFailure, TagDigest
from autopilot_watchdog.engine.docker_answers import parse_container
from autopilot_watchdog.engine.docker_engine import DockerEngine
from autopilot_watchdog.engine.engine import TIMED_OUT_STATUS, EngineUnreachableError
from autopilot_watchdog.registry.credentials import Credentials, CredentialsError, find_credentials
from autopilot_watchdog.registry.registry_client import MANIFEST_MEDIA_TYPES, RegistryClient, RegistryError
from autopilot_watchdog.shell import last_words_reader, observe
from autopilot_watchdog.shell.fleet_store import FleetStore
from hypothesis import given
from hypothesis import strategies as st

from tests.watchdog.hostile_servers import drip_bytes, serve_answers
from tests.watchdog.scenes import build_config

DEEP = b"[" * 500_000
DEEP_OBJECTS = b'{"a":' * 100_000
HUGE_NUMBER = b'{"format": 1, "exit_code": ' + b"9" * 5000 + b"}"
GARBAGE = [b"", b"null", b"[]", b"3", b'"x"', b"{", b"\xff\xfe", b"[NaN]", DEEP, DEEP_OBJECTS, HUGE_NUMBER, b"1e999"]
LIFE = Container("f00", "wn-01-x", "docker", "wn-01", "sha256:a", "r/i:t", "exited", exit_code=137)
WRONG_VALUES: list[Any] = [None, [], {}, 3, True, -1.5, "x", [[]], {"a": {}}, 10**25]


def name_case(case: object) -> str:
    """Return a short name of a test's case."""
    return ascii(case)[:24]


ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.parametrize(
    "text", [DEEP, DEEP_OBJECTS, HUGE_NUMBER, b"[NaN]", b"1e999", b"\xff", b'"' * (17 << 20)], ids=name_case
)
def test_absurd_json_is_a_value_error(text: bytes) -> None:
    """A document that is too deep, too large, or has absurd numbers is refused with a ValueError, and quickly."""
    begin = time.monotonic()
    with pytest.raises(ValueError):
        parse_json(text)
    assert time.monotonic() - begin < 60


@given(ANY_JSON)
def test_sane_json_is_read_as_the_standard_library_does(document: object) -> None:
    """What is neither deep nor absurd is read as json.loads reads it."""
    text = json.dumps(document)
    if len(text) < 30:  # no number has more digits
        assert parse_json(text) == json.loads(text)
    deepest = "[" * MAX_DEPTH + '"[[[[{{"' + "]" * MAX_DEPTH
    assert parse_json(deepest) == json.loads(deepest)


@given(ANY_JSON, st.text(max_size=5))
def test_getters_have_types(document: object, key: str) -> None:
    """A getter returns its type for any document."""
    assert type(get_object(document, key)) is dict
    assert type(get_list(document, key)) is list
    assert type(get_text(document, key)) is str
    assert type(get_integer(document, key)) in (int, type(None))
    assert get_text({"a": "x" * 1000 + "\ud800"}, "a", 10) == "x" * 7 + "..."


@pytest.mark.parametrize("text", GARBAGE, ids=name_case)
def test_garbage_as_last_words(tmp_path: Path, text: bytes) -> None:
    """Garbage as last words is no last words; nothing is completed."""
    (tmp_path / "last-words.json").write_bytes(text)
    (tmp_path / "previous-words.json").write_bytes(text)
    assert last_words_reader.attach_last_words(LIFE, tmp_path).last_words is None
    assert not last_words_reader.complete_last_words(LIFE, tmp_path, "killed", "x", 1000.0)


@pytest.mark.parametrize("value", WRONG_VALUES, ids=name_case)
def test_wrong_types_in_last_words(tmp_path: Path, value: Any) -> None:
    """Each wrong value in the words is an unknown value; all texts are bounded."""
    keys = ("state", "reason", "detail", "exit_code", "good", "drain_started", "payloads_killed")
    document = {"format": 1, "container_id": LIFE.id, **dict.fromkeys(keys, value)}
    (tmp_path / "last-words.json").write_text(json.dumps(document)[: 1 << 17])
    found = last_words_reader.attach_last_words(LIFE, tmp_path).last_words
    assert found is not None
    kinds = {"state": str, "reason": str, "detail": str, "good": bool, "draining": bool, "payloads_killed": int}
    assert all(type(getattr(found, key)) is kind for key, kind in kinds.items())
    assert found.exit_code is None or type(found.exit_code) is int


def test_long_words_are_cut(tmp_path: Path) -> None:
    """No text of the words is longer than its limit."""
    document = {"format": 1, "container_id": LIFE.id} | dict.fromkeys(("state", "reason", "detail"), "x" * 10_000)
    (tmp_path / "last-words.json").write_text(json.dumps(document))
    found = last_words_reader.attach_last_words(LIFE, tmp_path).last_words
    assert found is not None
    assert (len(found.state), len(found.reason), len(found.detail)) == (40, 40, 500)


def test_directories_and_devices_as_words(tmp_path: Path) -> None:
    """A directory in place of the words is no words, and leaves no descriptor open."""
    (tmp_path / "last-words.json").mkdir()
    os.mkfifo(tmp_path / "previous-words.json")
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        assert last_words_reader.attach_last_words(LIFE, tmp_path).last_words is None
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_slot_label_is_no_path(tmp_path: Path) -> None:
    """The label of an image cannot make the watchdog read another folder's words."""
    (tmp_path / "last-words.json").write_text(json.dumps({"format": 1, "container_id": "f00", "good": True}))
    for slot in ("..", ".", "", "a/../.."):
        stranger = Container("f00", "x", "docker", slot, "sha256:a", "r/i:t", "running")
        assert last_words_reader.attach_last_words(stranger, tmp_path).last_words is None
    assert last_words_reader.attach_last_words(LIFE, tmp_path).last_words == LastWords(good=True)


ITEM = {"Id": "f00", "Names": ["/wn-01-x"], "Labels": {"autopilot.slot": "wn-01"}}


@pytest.mark.parametrize(
    "document",
    [
        *WRONG_VALUES,
        *({"State": v, "Config": v, "Name": v} for v in WRONG_VALUES),
        *({"State": {"Health": {"Status": v, "Log": v}}} for v in WRONG_VALUES),
        *({"State": {"Health": {"Status": v, "Log": [v]}}} for v in WRONG_VALUES),
    ],
    ids=name_case,
)
def test_engine_answer_of_wrong_shape(document: Any) -> None:
    """A container that the engine cannot describe keeps its slot: it is unknown, neither filled nor removed."""
    found = parse_container(ITEM, document, "docker", {})
    assert (found.id, found.slot, found.alive) == ("f00", "wn-01", True)


def build_answers(manifest: object, config: object = None) -> dict[str, tuple[int, dict[str, str], bytes]]:
    """Build a registry's answers for one tag: the manifest, with the right digest, and its configuration."""
    body = manifest if isinstance(manifest, bytes) else json.dumps(manifest).encode()
    digest = f"sha256:{hashlib.sha256(body).hexdigest()}"
    headers = {"Content-Type": MANIFEST_MEDIA_TYPES[0], "Docker-Content-Digest": digest}
    blob = config if isinstance(config, bytes) else json.dumps(config).encode()
    return {"manifests/v1": (200, headers, body), digest: (200, headers, body), "b" * 64: (200, {}, blob)}


CONFIG_DIGEST = {"config": {"digest": "sha256:" + "b" * 64}}
NONSENSE = [
    *(build_answers(body) for body in GARBAGE if body),
    *(build_answers({"config": value}) for value in WRONG_VALUES),
    *(build_answers({"config": {"digest": value}}) for value in [*WRONG_VALUES, "sha256:../../x", "x\r\ny"]),
    *(build_answers(CONFIG_DIGEST, body) for body in GARBAGE),
]


@pytest.mark.parametrize("answers", NONSENSE, ids=name_case)
def test_registry_of_wrong_shape(answers: dict[str, tuple[int, dict[str, str], bytes]]) -> None:
    """Nonsense from a registry is a sentence about that image."""
    with serve_answers(answers) as server:
        client = RegistryClient(f"{server.address}/site/wn:v1", None, (), 5)
        with pytest.raises(RegistryError, match=r"answers nonsense for site/wn:v1"):
            client.fetch_tag_digest(("linux", "amd64"), {}, ())


@pytest.mark.parametrize("value", WRONG_VALUES, ids=name_case)
@pytest.mark.parametrize("keys", [("config",), ("config", "Labels"), ("config", "Labels", "autopilot.urgency")])
def test_labels_of_wrong_shape(keys: tuple[str, ...], value: Any) -> None:
    """Labels that are no object are nonsense; absent ones, and an urgency that is no text, are none."""
    document = value
    for key in reversed(keys):
        document = {key: document}
    is_nonsense = len(keys) < 3 and value is not None and not isinstance(value, dict)
    with serve_answers(build_answers(CONFIG_DIGEST, document)) as server:
        client = RegistryClient(f"{server.address}/site/wn:v1", None, (), 5)
        if is_nonsense:
            with pytest.raises(RegistryError, match="answers nonsense for site/wn:v1: the labels of the image"):
                client.fetch_tag_digest(("linux", "amd64"), {}, ())
        else:
            urgency = client.fetch_tag_digest(("linux", "amd64"), {}, ()).urgency
            assert urgency == (value if len(keys) == 3 and isinstance(value, str) else "")


GOOD_ENTRY = {"digest": "sha256:" + "a" * 64, "platform": {"os": "linux", "architecture": "amd64"}}


def fetch_of_index(index: Any) -> str:
    """Return the digest that a registry's index gives for this platform."""
    body = json.dumps(index).encode()
    digest = f"sha256:{hashlib.sha256(body).hexdigest()}"
    headers = {"Content-Type": "application/vnd.oci.image.index.v1+json", "Docker-Content-Digest": digest}
    with serve_answers({"manifests/v1": (200, headers, b""), digest: (200, headers, body)}) as server:
        client = RegistryClient(f"{server.address}/site/wn:v1", None, (), 5)
        return client.fetch_tag_digest(("linux", "amd64"), {}, [str(GOOD_ENTRY["digest"])]).digest


@pytest.mark.parametrize("value", [value for value in WRONG_VALUES if not isinstance(value, dict)], ids=name_case)
def test_index_of_wrong_shape(value: Any) -> None:
    """An index without a list of objects is nonsense; an object that describes no platform is passed over."""
    for index in ({"manifests": [value, GOOD_ENTRY]}, {"manifests": [value]}):
        with pytest.raises(RegistryError, match="answers nonsense for site/wn:v1: the manifests of its index"):
            fetch_of_index(index)
    if value != []:
        with pytest.raises(RegistryError, match="answers nonsense for site/wn:v1: the manifests of its index"):
            fetch_of_index({"manifests": value})
    assert fetch_of_index({"manifests": [{}, {"platform": value}, GOOD_ENTRY]}) == GOOD_ENTRY["digest"]


@pytest.mark.parametrize("body", GARBAGE, ids=name_case)
def test_consul_of_wrong_shape(body: bytes) -> None:
    """Nonsense from Consul is nothing known, with a sentence; only an empty list or body says that there is nothing."""
    with serve_answers({"/": (200, {}, body)}) as server:
        store = FleetStore(build_config(consul={"address": f"http://{server.address}"}))
        state = store.read_fleet_state()
    if body in (b"", b"null", b"[]"):
        assert state is not None and not state.quarantine
    else:
        assert state is None and store.last_error


def test_consul_entries_of_wrong_shape() -> None:
    """Wrong entries are passed over, the right ones count, and texts are bounded."""

    def encode(text: str) -> str:
        return base64.b64encode(text.encode()).decode()

    folder = "autopilot-watchdog/quarantine/"
    items = [
        *WRONG_VALUES,
        *({"Key": value, "Value": value} for value in WRONG_VALUES),
        {"Key": f"{folder}../../x", "Value": encode("x")},
        {"Key": f"{folder}sha256:{'c' * 64}", "Value": "no base64!"},
        {"Key": f"{folder}sha256:{'b' * 64}", "Value": encode("h1: " + "failed" * 1000)},
        {"Key": "autopilot-watchdog/urgency", "Value": encode("now" * 1000)},
    ]
    with serve_answers({"/": (200, {}, json.dumps(items).encode())}) as server:
        state = FleetStore(build_config(consul={"address": f"http://{server.address}"})).read_fleet_state()
    assert state is not None and set(state.quarantine) == {f"sha256:{letter * 64}" for letter in "bc"}
    assert len(state.quarantine["sha256:" + "b" * 64]) == 500 and len(state.urgency) == 64


@pytest.mark.parametrize("text", [DEEP, DEEP_OBJECTS, HUGE_NUMBER], ids=name_case)
def test_absurd_configuration_and_credentials(tmp_path: Path, text: bytes) -> None:
    """Absurd files of the operator's are sentences, too."""
    with pytest.raises(ConfigError, match="cannot read the configuration as JSON"):
        parse_config(text.decode())
    path = tmp_path / "config.json"
    path.write_bytes(text)
    with pytest.raises(CredentialsError, match="cannot read credentials"):
        find_credentials("r.example.org", str(path), {})


@pytest.mark.parametrize("value", WRONG_VALUES, ids=name_case)
def test_credentials_of_wrong_shape(tmp_path: Path, value: Any) -> None:
    """A credentials file of another shape has no credentials."""
    path = tmp_path / "config.json"
    for document in (value, {"auths": value, "credHelpers": value}, {"auths": {"r.example.org": value}}):
        path.write_text(json.dumps(document))
        assert find_credentials("r.example.org", str(path), {}) is None


ALICE = Credentials("alice", "secret")


@pytest.mark.parametrize(
    ("registry", "realm", "remedy"),
    [
        ("r.example.org", "file:///etc/shadow", "no address with http or https"),
        ("r.example.org", "foo", "no address with http or https"),
        ("r.example.org", "", "no address with http or https"),
        ("r.example.org", "//r.example.org/token", "no address with http or https"),
        ("r.example.org", "data:application/json,{}", "no address with http or https"),
        ("r.example.org", "ftp://r.example.org/token", "no address with http or https"),
        ("r.example.org", "https://r.example.org:x/token", "no address with http or https"),
        ("r.example.org", "https://[/token", "no address with http or https"),
        ("r.example.org", "https://u@r.example.org/token", "no address with http or https"),
        ("r.example.org", "https://r.example.org/a b\r\nX: y", "no address with http or https"),
        ("r.example.org", "http://r.example.org/token", "is not https"),
        ("r.example.org", "http://127.0.0.1:8500/v1/kv", "is not https"),
        ("r.example.org", "https://evil.test/token", "not of its domain"),
        ("r.example.org", "https://example.org.evil.test/token", "not of its domain"),
        ("r.example.org", "https://evilexample.org/token", "not of its domain"),
        ("ghcr.io", "https://evil.io/token", "not of its domain"),
        ("registry.co.uk", "https://evil.co.uk/token", "not of its domain"),
        ("10.1.2.3:5000", "https://9.1.2.3/token", "not of its domain"),
    ],
)
def test_token_service_refused(registry: str, realm: str, remedy: str) -> None:
    """Credentials go to no file, over no worse wire than the registry's, and to nobody else's host."""
    client = RegistryClient(f"{registry}/site/wn:v1", ALICE, (), 5)
    with pytest.raises(RegistryError, match=remedy):
        client.check_realm(realm)


@pytest.mark.parametrize(
    ("registry", "realm"),
    [
        ("registry-1.docker.io", "https://auth.docker.io/token"),
        ("registry.gitlab.com", "https://gitlab.com/jwt/auth"),
        ("gitlab-registry.cern.ch", "https://gitlab.cern.ch/jwt/auth"),
        ("ghcr.io", "https://ghcr.io/token"),
        ("r.example.org:5000", "https://r.example.org:5001/token"),
        ("127.0.0.1:5000", "http://127.0.0.1:5001/token"),
        ("r.example.org", "https://sso.other.test/token"),
    ],
)
def test_token_service_allowed(registry: str, realm: str) -> None:
    """The registry's own domain, as real registries have it, and the configured hosts see the credentials."""
    client = RegistryClient(f"{registry}/site/wn:v1", ALICE, (), 5, token_hosts=("sso.other.test",))
    assert client.check_realm(realm) == realm


def test_anonymous_token_from_elsewhere() -> None:
    """Without credentials there is nothing to lose, so any https token service may be asked."""
    assert RegistryClient("r.example.org/site/wn:v1", None, (), 5).check_realm("https://sso.other.test/t?x=1")


@pytest.mark.parametrize(
    "realm", ["file:///etc/hostname", "data:application/json,%7B%22token%22:%22x%22%7D"], ids=name_case
)
def test_no_host_file_is_sent_out(realm: str) -> None:
    """A registry that names a file as its token service gets one request and no file."""
    challenge = {"WWW-Authenticate": f'Bearer realm="{realm}",service="x"'}
    with serve_answers({"manifests/v1": (401, challenge, b"")}) as server:
        client = RegistryClient(f"{server.address}/site/wn:v1", None, (), 5)
        with pytest.raises(RegistryError, match="no address with http or https"):
            client.fetch_tag_digest(("linux", "amd64"), {}, ())
        assert [sent for _, _, sent in server.requests] == [""]


@pytest.mark.parametrize("token", [*WRONG_VALUES, "a\r\nX-Evil: y", "", "a b"], ids=name_case)
def test_token_of_wrong_shape(token: Any) -> None:
    """A token that is none is never sent."""
    with serve_answers({"/token": (200, {}, json.dumps({"token": token}).encode())}) as server:
        challenge = {"WWW-Authenticate": f'Bearer realm="http://{server.address}/token"'}
        server.answers["manifests/v1"] = (401, challenge, b"")
        client = RegistryClient(f"{server.address}/site/wn:v1", ALICE, (), 5)
        with pytest.raises(RegistryError, match="answers nonsense" if token != "x" else "credentials are wrong"):
            client.fetch_tag_digest(("linux", "amd64"), {}, ())


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: " + MANIFEST_MEDIA_TYPES[0].encode()


@pytest.mark.parametrize(
    "beginning", [b"", b"HTTP/1.1 200 OK\r\nX: ", HEAD + b"\r\nContent-Length: 4000000\r\n\r\n"], ids=name_case
)
@pytest.mark.slow
def test_slow_registry_and_consul(beginning: bytes) -> None:
    """A server that sends a byte now and then is given up after the time of one request, headers and body included."""
    with drip_bytes(beginning) as address:
        begin = time.monotonic()
        with pytest.raises(RegistryError, match=r"no complete answer within 0\.5 s"):
            RegistryClient(f"{address}/site/wn:v1", None, (), 0.5).fetch_tag_digest(("linux", "amd64"), {}, ())
        store = FleetStore(build_config(consul={"address": f"http://{address}", "timeout": "500ms"}))
        assert store.read_fleet_state() is None and "no complete answer within 0.5 s" in store.last_error
        assert time.monotonic() - begin < 60


class PlatformEngine:
    """Engine that knows its platform alone."""

    def get_platform(self) -> tuple[str, str]:
        """Return a platform."""
        return "linux", "amd64"


def test_slow_registries_share_a_limit() -> None:
    """All images of a pass together have one limit; the images that were not asked are asked first in the next pass."""
    with drip_bytes(b"") as address:
        slots = [{"name": f"s{n}-NN", "image": f"{address}/site/wn{n}:v1"} for n in range(12)]
        config = parse_config(json.dumps({"slots": slots, "registry": {"timeout": "200ms"}}))
        keys = [group.image_key for group in config.slots]
        answers = observe.fetch_tag_digests(config, keys, Memory(), {"docker": PlatformEngine()})  # type: ignore[dict-item]
    assert 1 <= len(answers) < 12
    assert all(isinstance(answer, RegistryFailure) for answer in answers.values())
    memory = apply_registry_answers(Memory(), answers, 1000.0)
    ordered = sorted(keys, key=lambda key: memory.get_image(key).asked_at)
    assert not set(ordered[: 12 - len(answers)]) & set(answers)


def test_one_lying_registry_costs_one_image() -> None:
    """Beside a registry that lies the other image gets its answer."""
    with serve_answers(NONSENSE[0]) as liar, serve_answers(build_answers(CONFIG_DIGEST, {})) as honest:
        slots = [{"name": f"s{n}-NN", "image": f"{at.address}/site/wn:v1"} for n, at in enumerate((liar, honest))]
        config = parse_config(json.dumps({"slots": slots}))
        keys = [group.image_key for group in config.slots]
        answers = observe.fetch_tag_digests(config, keys, Memory(), {"docker": PlatformEngine()})  # type: ignore[dict-item]
    assert isinstance(answers[keys[0]], RegistryFailure) and isinstance(answers[keys[1]], TagDigest)


def test_slow_command_inside_a_container(tmp_path: Path) -> None:
    """A container whose drain command prints for ever is given up after the command's time."""
    path = str(tmp_path / "docker.sock")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen()
    body = json.dumps({"Id": "e1", "ApiVersion": "1.41", "MinAPIVersion": "1.12"}).encode()
    engine = DockerEngine("docker", path, "owner")
    head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    begin = time.monotonic()
    with drip_bytes(head + body, listener):
        assert engine.get_platform() == ("linux", "amd64")
        # the canned body is a beginning of the output, shorter than what the read waits for
        status, sentence = engine.execute_command("c1", ("drain",), 0.5)
    assert time.monotonic() - begin < 60
    assert (status, sentence) in ((TIMED_OUT_STATUS, "no answer within 0.5 s"), (0, body.decode()))


@pytest.mark.parametrize("body", [body for body in GARBAGE if body], ids=name_case)
def test_engine_that_lies_about_one_container(tmp_path: Path, body: bytes) -> None:
    """Nonsense about one container leaves its slot alone and hides no other container."""
    version = json.dumps({"ApiVersion": "1.41", "MinAPIVersion": "1.12"}).encode()
    labels = {"autopilot.slot": "wn-02"}
    honest = {"Id": "c2", "Name": "/x", "State": {"Status": "exited"}, "Config": {"Labels": labels}}
    items = [{"Id": f"c{n}", "Labels": {"autopilot.slot": f"wn-0{n}"}} for n in (1, 2)]
    answers = {
        "/version": version,
        "/containers/json": json.dumps(items).encode(),
        "/c1/json": body,
        "/c2/json": json.dumps(honest).encode(),
    }
    path = str(tmp_path / "docker.sock")
    with serve_answers({end: (200, {}, answer) for end, answer in answers.items()}, unix_path=path):
        found = DockerEngine("docker", path, "owner").list_containers()
    assert [(container.slot, container.alive) for container in found] == [("wn-01", True), ("wn-02", False)]


@pytest.mark.parametrize("body", [body for body in GARBAGE if body not in (b"", b"null", b"[]")], ids=name_case)
def test_engine_that_lies(tmp_path: Path, body: bytes) -> None:
    """An engine whose list is nonsense is unreachable: nothing is known, so nothing is started."""
    path = str(tmp_path / "docker.sock")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen()
    answer = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
    with drip_bytes(answer, listener), pytest.raises(EngineUnreachableError):
        DockerEngine("docker", path, "owner").list_containers()
