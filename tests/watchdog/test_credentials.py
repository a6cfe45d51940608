"""Logins: every form that docker and podman write is found, the most specific one counts, helpers are bounded."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any

import pytest
from autopilot_watchdog.bounded_command import CommandTimeoutError, run_bounded_command
from autopilot_watchdog.registry import credentials
from autopilot_watchdog.registry.credentials import Credentials, CredentialsError, find_credentials
from autopilot_watchdog.registry.image_reference import DOCKER_HUB, split_host_and_path

from tests.watchdog.site import eventually

HOST, PATH = "r.example.org:5000", "site/worker"


def encode(user: str, password: str = "secret") -> dict[str, str]:
    """Return an entry as `docker login` writes it."""
    return {"auth": base64.b64encode(f"{user}:{password}".encode()).decode()}


def find_user(folder: Path, document: Any, host: str = HOST, path: str = PATH) -> str | None:
    """Return the user of the login that a file gives for a repository."""
    file = folder / "auth.json"
    file.write_text(json.dumps(document))
    login = find_credentials(host, str(file), {}, path)
    return login.user if login else None


@pytest.mark.parametrize(
    "key",
    [
        HOST,
        f"https://{HOST}",
        f"http://{HOST}/",
        f"https://{HOST}/v1/",
        f"{HOST}/v2/",
        f"{HOST}/site",
        f"{HOST}/{PATH}",
    ],
)
def test_every_form_of_a_key(tmp_path: Path, key: str) -> None:
    """A registry's key may have a scheme, a version or a path that the repository begins with."""
    assert find_user(tmp_path, {"auths": {key: encode("alice")}}) == "alice"
    assert find_user(tmp_path, {"auths": {key: encode("alice")}}, host="other.example.org") is None


def test_most_specific_key_counts(tmp_path: Path) -> None:
    """The login of a repository wins over its namespace's, and that over the registry's."""
    auths = {HOST: encode("all"), f"{HOST}/site": encode("site"), f"{HOST}/{PATH}": encode("worker")}
    assert find_user(tmp_path, {"auths": auths}) == "worker"
    assert find_user(tmp_path, {"auths": auths}, path="site/other") == "site"
    assert find_user(tmp_path, {"auths": auths}, path="sites/worker") == "all"
    assert find_user(tmp_path, {"auths": {f"{HOST}/sit": encode("x")}}) is None


@pytest.mark.parametrize("reference", ["worker:v1", "library/worker:v1", "docker.io/worker:v1"])
@pytest.mark.parametrize("key", ["https://index.docker.io/v1/", "docker.io", "index.docker.io", "docker.io/library"])
def test_names_of_docker_hub(tmp_path: Path, reference: str, key: str) -> None:
    """Docker Hub has several names, in references and in logins, and one registry."""
    host, path = split_host_and_path(reference)
    assert (host, path) == (DOCKER_HUB, "library/worker")
    assert find_user(tmp_path, {"auths": {key: encode("alice")}}, host, path) == "alice"
    payload = Credentials("alice", "secret").build_auth_payload(host)
    assert payload["serveraddress"] == "https://index.docker.io/v1/"


@pytest.mark.parametrize("reference", ["docker.io/site/x:v1", "index.docker.io/site/x:v1", "site/x:v1"])
def test_repositories_of_docker_hub(reference: str) -> None:
    """A repository of Docker Hub is the same with and without the registry's names."""
    assert split_host_and_path(reference) == (DOCKER_HUB, "site/x")


@pytest.mark.parametrize(
    ("entry", "login"),
    [
        (encode("alice", "se:cret"), Credentials("alice", "se:cret")),
        ({"auth": "YWxpY2U6\nc2VjcmV0\n"}, Credentials("alice", "secret")),
        ({"username": "alice", "password": "secret"}, Credentials("alice", "secret")),
        ({"identitytoken": "token"}, Credentials("", "token", identity_token=True)),
        ({**encode("<token>"), "identitytoken": "token"}, Credentials("", "token", identity_token=True)),
        ({}, None),
        ({"username": "alice"}, None),
    ],
)
def test_forms_of_an_entry(tmp_path: Path, entry: dict[str, str], login: Credentials | None) -> None:
    """An entry has `auth`, or user and password, or an identity token; an empty one is no login."""
    file = tmp_path / "config.json"
    file.write_text(json.dumps({"auths": {HOST: entry}}))
    assert find_credentials(HOST, str(file), {}, PATH) == login


def test_broken_entry_is_a_sentence(tmp_path: Path) -> None:
    """An `auth` that is no user and password is told, not passed over."""
    with pytest.raises(CredentialsError, match=f'credentials of {HOST}: "auth" is not base64'):
        find_user(tmp_path, {"auths": {HOST: {"auth": base64.b64encode(b"alice").decode()}}})


@pytest.mark.parametrize(
    "place", ["run/containers/auth.json", ".config/containers/auth.json", ".docker/config.json", ".dockercfg"]
)
def test_usual_places(tmp_path: Path, place: str) -> None:
    """Without a configured file the places of docker and podman are searched, also that of old docker programs."""
    file = tmp_path / place
    file.parent.mkdir(parents=True, exist_ok=True)
    auths = {HOST: encode("alice")}
    file.write_text(json.dumps(auths if place == ".dockercfg" else {"auths": auths}))
    env = {"HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path / "run")}
    login = find_credentials(HOST, "", env, PATH)
    assert login is not None and login.user == "alice"


def test_podmans_place_without_a_login_session() -> None:
    """Podman's file of a service, which has no XDG_RUNTIME_DIR, is among the places."""
    files = credentials.list_credential_files("", {"HOME": "/nowhere"})
    assert Path(f"/run/containers/{os.getuid()}/auth.json") in files


@pytest.mark.real("root")
@pytest.mark.parametrize(
    ("mode", "configured", "fails"), [(0o700, False, False), (0o700, True, True), (0o755, False, True)]
)
def test_places_of_another_user(mode: int, configured: bool, fails: bool) -> None:
    """A usual place in a directory that others may not search holds nothing; a file that cannot be read is told."""
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch, "containers/auth.json")
        file.parent.mkdir(mode=mode)
        file.write_text("{}")
        file.chmod(0o600)
        os.chmod(scratch, 0o755)
        os.setegid(1)
        os.seteuid(1)
        try:
            with pytest.raises(CredentialsError) if fails else contextlib.nullcontext():
                find_credentials(HOST, str(file) if configured else "", {"HOME": "/", "XDG_RUNTIME_DIR": scratch}, PATH)
        finally:
            os.seteuid(0)
            os.setegid(0)


def put_helper(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Put the program docker-credential-lab into PATH."""
    program = folder / "docker-credential-lab"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


def test_helper_is_asked_with_the_hubs_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A helper gets the name that docker gives it; an empty entry beside a store is no login."""
    put_helper(tmp_path, monkeypatch, """read name; echo '{"Username": "'$name'", "Secret": "s"}'""")
    store = {"auths": {HOST: {}}, "credsStore": "lab"}
    assert find_user(tmp_path, store) == HOST
    assert find_user(tmp_path, store, DOCKER_HUB, "site/x") == "https://index.docker.io/v1/"
    assert find_user(tmp_path, {"credHelpers": {HOST: "lab"}}) == HOST


@pytest.mark.parametrize(
    ("script", "sentence"),
    [
        ("sleep 1000", "took longer than 1 s"),
        ("yes", "took longer than 1 s"),
        ("echo nonsense", "cannot parse the answer of docker-credential-lab"),
        ("echo locked >&2; exit 1", "docker-credential-lab failed for .*: locked"),
    ],
)
def test_bad_helpers_are_sentences(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, sentence: str) -> None:
    """A helper that hangs, floods, fails or answers nonsense is ended and told."""
    if "took longer" in sentence:
        monkeypatch.setattr(credentials, "HELPER_TIMEOUT_S", 1)
    put_helper(tmp_path, monkeypatch, script)
    with pytest.raises(CredentialsError, match=sentence):
        find_user(tmp_path, {"credsStore": "lab"})


def test_name_of_a_helper(tmp_path: Path) -> None:
    """A helper's name that leads out of PATH is refused."""
    with pytest.raises(CredentialsError, match="its name is no program's name"):
        find_user(tmp_path, {"credsStore": "x/../../tmp/evil"})


def test_command_is_bounded() -> None:
    """Input and output pass whole below the limit, output beyond it is dropped, and no child is left behind."""
    big = "x" * 300_000
    assert run_bounded_command(["cat"], timeout=60, text=big, max_bytes=1 << 20).output == big
    assert run_bounded_command(["cat"], timeout=60, text=big, max_bytes=1000).output == "x" * 1000
    assert run_bounded_command(["true"], timeout=60, text=big, max_bytes=10).status == 0
    done = run_bounded_command(["sh", "-c", "sleep 1000 & echo $!; exit 3"], timeout=60, max_bytes=100)
    assert done.status == 3
    stat = Path(f"/proc/{done.output.strip()}/stat")
    eventually(lambda: not stat.exists() or ") Z " in stat.read_text(), 10, "the child is gone")
    with pytest.raises(CommandTimeoutError):
        run_bounded_command(["sh", "-c", "sleep 1000 & wait"], timeout=0.2, max_bytes=100)
    with pytest.raises(FileNotFoundError):
        run_bounded_command(["/no/such/program"], timeout=1, max_bytes=100)
