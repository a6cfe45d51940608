"""Find registry credentials in docker's and podman's files: config.json, auth.json, credential helpers."""

from __future__ import annotations

import base64
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from autopilot_watchdog.bounded_json import get_object, get_text, parse_json
from autopilot_watchdog.errors import WatchdogError
from autopilot_watchdog.registry.image_reference import DOCKER_HUB

HUB_KEYS = ("https://index.docker.io/v1/", "index.docker.io", "docker.io")  # names of Docker Hub in config.json
HELPER_TIMEOUT_S = 20
MAX_SECRET_CHARS = 1 << 20


@dataclass(frozen=True, slots=True)
class Credentials:
    """Credentials for one registry."""

    user: str
    password: str
    identity_token: bool = False  # `password` is an OAuth2 refresh token

    def build_auth_payload(self, host: str) -> dict[str, str]:
        """Build the document of the X-Registry-Auth header."""
        if self.identity_token:
            return {"identitytoken": self.password, "serveraddress": host}
        return {"username": self.user, "password": self.password, "serveraddress": host}


class CredentialsError(WatchdogError):
    """The credentials cannot be read."""


def list_credential_files(configured: str, env: Mapping[str, str]) -> list[Path]:
    """Return the files to search, in this order; only the configured one if it is set."""
    if configured:
        return [Path(configured)]
    home = Path(env["HOME"]) if "HOME" in env else Path.home()
    paths = [Path(env["DOCKER_CONFIG"], "config.json")] if "DOCKER_CONFIG" in env else []
    paths += [Path(env["REGISTRY_AUTH_FILE"])] if "REGISTRY_AUTH_FILE" in env else []
    paths.append(home / ".docker/config.json")
    paths.append(Path(env.get("XDG_RUNTIME_DIR", "/run"), "containers/auth.json"))
    return paths


def find_credentials(host: str, configured: str, env: Mapping[str, str]) -> Credentials | None:
    """Find the credentials for a registry.

    Args:
        host: The registry's host, with its port if it has one.
        configured: The path of the only file to search; "" to search the usual ones.
        env: The environment variables.

    Returns:
        The credentials; None if there are none.

    Raises:
        CredentialsError: A file or a credential helper cannot be understood.
    """
    for path in list_credential_files(configured, env):
        try:
            document = parse_json(path.read_bytes())
        except FileNotFoundError:
            if configured:
                raise CredentialsError(f"cannot read credentials: {path} does not exist") from None
            continue
        except (OSError, ValueError) as error:
            raise CredentialsError(f"cannot read credentials from {path}: {error}") from None
        if login := _find_in_document(document, host):
            return login
    return None


def _find_in_document(document: object, host: str) -> Credentials | None:
    names = [
        host,
        f"https://{host}",
        f"http://{host}",
        f"https://{host}/v1/",
        *(HUB_KEYS if host == DOCKER_HUB else ()),
    ]
    helpers, auths = get_object(document, "credHelpers"), get_object(document, "auths")
    for name in names:
        if helper := get_text(helpers, name):
            return _ask_helper(helper, name)
    for name in names:
        entry = get_object(auths, name)
        if token := get_text(entry, "identitytoken", MAX_SECRET_CHARS):
            return Credentials("", token, identity_token=True)
        if auth := get_text(entry, "auth", MAX_SECRET_CHARS):
            try:
                user, _, password = base64.b64decode(auth, validate=True).decode().partition(":")
            except ValueError:
                raise CredentialsError(
                    f'cannot read the credentials of {name}: "auth" is not base64 of user:password'
                ) from None
            return Credentials(user, password.rstrip("\0"))
    if store := get_text(document, "credsStore"):
        for name in names:
            if login := _ask_helper(store, name):
                return login
    return None


def _ask_helper(helper: str, server: str) -> Credentials | None:
    """Run docker-credential-HELPER get: the server's URL on its input, JSON on its output."""
    program = f"docker-credential-{helper}"
    try:
        done = subprocess.run(
            [program, "get"],
            input=server,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=HELPER_TIMEOUT_S,
            check=False,
            env=dict(os.environ),
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CredentialsError(f"cannot ask {program} for the credentials of {server}: {error}") from None
    if done.returncode != 0:
        if "credentials not found" in (done.stdout + done.stderr).lower():
            return None
        raise CredentialsError(f"{program} failed for {server}: {(done.stderr or done.stdout).strip()[:200]}")
    try:
        answer = parse_json(done.stdout)
        user, secret = str(answer["Username"]), str(answer["Secret"])
    except (ValueError, KeyError, TypeError):
        raise CredentialsError(f"cannot parse the answer of {program} for {server}") from None
    return Credentials(user, secret, identity_token=user == "<token>")
