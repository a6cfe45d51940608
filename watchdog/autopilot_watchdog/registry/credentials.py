"""Find registry credentials in docker's and podman's files, by the rules of containers-auth.json(5) and docker login.

A login belongs to a registry (HOST) or to a part of it (HOST/path): the most specific one counts. Older programs wrote
keys with a scheme and with /v1/ or /v2/; Docker Hub is written as https://index.docker.io/v1/.
"""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from autopilot_watchdog.bounded_command import run_bounded_command
from autopilot_watchdog.bounded_json import get_object, get_text, parse_json
from autopilot_watchdog.errors import WatchdogError
from autopilot_watchdog.registry.image_reference import DOCKER_HUB, HUB_NAMES

HUB_SERVER = "https://index.docker.io/v1/"  # docker's name for Docker Hub in logins
HELPER_TIMEOUT_S = 20
MAX_SECRET_CHARS = 1 << 20
MAX_FILE_BYTES = 4 << 20
LEGACY_FILE_NAME = ".dockercfg"  # of old docker programs: the object has the keys of `auths` at its top
HELPER_NAME = re.compile(r"[A-Za-z0-9._-]+")  # it becomes part of a program's name


@dataclass(frozen=True, slots=True)
class Credentials:
    """Credentials for one registry."""

    user: str
    password: str
    identity_token: bool = False  # `password` is an OAuth2 refresh token

    def build_auth_payload(self, host: str) -> dict[str, str]:
        """Build the document of the X-Registry-Auth header."""
        server = HUB_SERVER if host == DOCKER_HUB else host
        if self.identity_token:
            return {"identitytoken": self.password, "serveraddress": server}
        return {"username": self.user, "password": self.password, "serveraddress": server}


class CredentialsError(WatchdogError):
    """The credentials cannot be read."""


def list_credential_files(configured: str, env: Mapping[str, str]) -> list[Path]:
    """Return the files to search, in this order; only the configured one if it is set."""
    if configured:
        return [Path(configured)]
    home, user = Path(env["HOME"]) if "HOME" in env else Path.home(), os.getuid()
    paths = [Path(env["DOCKER_CONFIG"], "config.json")] if "DOCKER_CONFIG" in env else []
    paths += [Path(env["REGISTRY_AUTH_FILE"])] if "REGISTRY_AUTH_FILE" in env else []
    paths += [home / ".docker/config.json", home / LEGACY_FILE_NAME]
    paths += [Path(env["XDG_RUNTIME_DIR"], "containers/auth.json")] if "XDG_RUNTIME_DIR" in env else []
    # a login shell has XDG_RUNTIME_DIR and a service has not
    paths += [Path(f"/run/containers/{user}/auth.json"), Path(f"/run/user/{user}/containers/auth.json")]
    paths.append(Path(env.get("XDG_CONFIG_HOME", home / ".config"), "containers/auth.json"))
    return list(dict.fromkeys(paths))


def find_credentials(host: str, configured: str, env: Mapping[str, str], path: str = "") -> Credentials | None:
    """Find the credentials for a repository.

    Args:
        host: The registry's host, with its port if it has one.
        configured: The path of the only file to search; "" to search the usual ones.
        env: The environment variables.
        path: The repository's path in the registry; "" for the registry as a whole.

    Returns:
        The credentials; None if there are none.

    Raises:
        CredentialsError: A file or a credential helper cannot be understood.
    """
    for file in list_credential_files(configured, env):
        document = _read_document(file, required=bool(configured))
        if file.name == LEGACY_FILE_NAME and document is not None:
            document = {"auths": document}
        if document is not None and (login := _find_in_document(document, host, path)):
            return login
    return None


def _read_document(file: Path, *, required: bool) -> object:
    """Return a file's JSON document; None if there is no such file, or none for this user."""
    try:
        with file.open("rb") as opened:
            return parse_json(opened.read(MAX_FILE_BYTES))
    except (FileNotFoundError, NotADirectoryError):
        if required:
            raise CredentialsError(f"cannot read credentials: {file} does not exist") from None
        return None
    except (OSError, ValueError) as error:
        if not required and isinstance(error, PermissionError) and not _can_see(file):
            return None
        raise CredentialsError(f"cannot read credentials from {file}: {error}") from None


def _can_see(file: Path) -> bool:
    """Return False if the file is in a directory that this user cannot search; root's Podman makes one."""
    try:
        file.lstat()
    except PermissionError:
        return False
    except OSError:
        return True
    return True


def normalize_login_key(key: str) -> str:
    """Return a key of `auths` as HOST or HOST/path, with one name for Docker Hub."""
    text = re.sub(r"^https?://", "", key, flags=re.IGNORECASE).strip("/")
    host, _, path = text.partition("/")
    host = DOCKER_HUB if host.lower() in HUB_NAMES else host.lower()
    if re.fullmatch(r"v[12]", path):
        path = ""
    return f"{host}/{path}" if path else host


def _list_scopes(host: str, path: str) -> list[str]:
    """Return the keys that may hold the login of a repository, the most specific first."""
    parts = path.split("/") if path else []
    return ["/".join([host.lower(), *parts[:length]]) for length in range(len(parts), -1, -1)]


def _find_in_document(document: object, host: str, path: str) -> Credentials | None:
    helpers, auths = get_object(document, "credHelpers"), get_object(document, "auths")
    scopes = _list_scopes(host, path)
    for key in _list_keys(helpers, scopes):
        if (helper := get_text(helpers, key)) and (login := _ask_helper(helper, _name_server(host, key))):
            return login
    for key in _list_keys(auths, scopes):
        if login := _read_entry(get_object(auths, key), key):
            return login
    if store := get_text(document, "credsStore"):
        for name in dict.fromkeys([_name_server(host, host), host, f"https://{host}"]):
            if login := _ask_helper(store, name):
                return login
    return None


def _name_server(host: str, key: str) -> str:
    """Return the name under which a helper keeps the login of a key: Docker Hub has one of its own."""
    if normalize_login_key(key) != host.lower():
        return key
    return HUB_SERVER if host == DOCKER_HUB else host


def _list_keys(found: Mapping[str, object], scopes: list[str]) -> Iterator[str]:
    """Yield the keys of logins that count for a repository: by scope, a key without decoration before others."""
    keys_by_scope: dict[str, list[str]] = {}
    for key in found:
        keys_by_scope.setdefault(normalize_login_key(key), []).append(key)
    for scope in scopes:
        yield from sorted(keys_by_scope.get(scope, ()), key=lambda key: (key != scope, len(key), key))


def _read_entry(entry: Mapping[str, object], name: str) -> Credentials | None:
    """Return the login of an entry of `auths`; None for an empty one, as `docker login` leaves beside a helper."""
    if token := get_text(entry, "identitytoken", MAX_SECRET_CHARS):
        return Credentials("", token, identity_token=True)
    if auth := get_text(entry, "auth", MAX_SECRET_CHARS):
        try:
            user, colon, password = base64.b64decode("".join(auth.split()), validate=True).decode().partition(":")
        except ValueError:
            colon = ""
        if not colon:
            raise CredentialsError(f'cannot read the credentials of {name}: "auth" is not base64 of user:password')
        return Credentials(user, password.rstrip("\0"))
    user = get_text(entry, "username", MAX_SECRET_CHARS)
    password = get_text(entry, "password", MAX_SECRET_CHARS)
    return Credentials(user, password) if user and password else None


def _ask_helper(helper: str, server: str) -> Credentials | None:
    """Run docker-credential-HELPER get: the server's name on its input, JSON on its output."""
    program = f"docker-credential-{helper}"
    if not HELPER_NAME.fullmatch(helper):
        raise CredentialsError(f'cannot use the credential helper "{helper[:80]}": its name is no program\'s name')
    try:
        done = run_bounded_command([program, "get"], text=server, timeout=HELPER_TIMEOUT_S, max_bytes=MAX_SECRET_CHARS)
    except OSError as error:
        raise CredentialsError(f"cannot ask {program} for the credentials of {server}: {error}") from None
    if done.status != 0:
        if "credentials not found" in (done.output + done.error_output).lower():
            return None
        problem = (done.error_output or done.output).strip()[:200] or f"status {done.status}"
        raise CredentialsError(f"{program} failed for {server}: {problem}")
    try:
        answer = parse_json(done.output)
    except ValueError:
        answer = None
    user, secret = get_text(answer, "Username", MAX_SECRET_CHARS), get_text(answer, "Secret", MAX_SECRET_CHARS)
    if not secret:
        raise CredentialsError(f"cannot parse the answer of {program} for {server}")
    return Credentials(user, secret, identity_token=user == "<token>")
