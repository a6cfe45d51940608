"""One HEAD per question: the digest a tag has for this platform (OCI distribution spec, "Pulling manifests").

The Accept header names every manifest type: without it a registry answers with a schema-1 digest, a permanent false
update. An index's platform digest and an image's labels are looked up once per new digest and remembered.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import http.client
import ipaddress
import json
import re
import ssl
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Collection, Mapping
from email.message import Message
from pathlib import Path
from typing import Any

from autopilot_watchdog.core.observation import Head
from autopilot_watchdog.registry.credentials import Credentials
from autopilot_watchdog.registry.reference import host_and_path, tag

INDEXES = ("application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json")
MANIFESTS = ("application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json")
ACCEPT = ", ".join(INDEXES + MANIFESTS)
CERTIFICATES = ("/etc/docker/certs.d", "/etc/containers/certs.d")  # a site's own CA: HOST/ca.crt
URGENCY = "autopilot.urgency"  # image label
LONGEST = 4 << 20  # bytes of a manifest or image configuration


class RegistryTrouble(Exception):
    """One sentence."""


class Registry:
    """One image's registry. Raises RegistryTrouble."""

    def __init__(
        self, reference: str, credentials: Credentials | None, insecure: Collection[str], timeout: float
    ) -> None:
        self.host, self._path = host_and_path(reference)
        self._tag = tag(reference)
        self._credentials = credentials
        self._timeout = timeout
        self.insecure = self.host in insecure or _loopback(self.host)
        self._authorization = ""
        self.requests = 0

    def head(self, platform: tuple[str, str], platforms: Mapping[str, str], known: Collection[str]) -> Head:
        """What the tag is now. `platforms`: indexes already looked into; `known`: digests whose labels are known."""
        headers, _ = self._ask("HEAD", f"manifests/{self._tag}")
        digest, kind = headers.get("Docker-Content-Digest", ""), headers.get("Content-Type", "").partition(";")[0]
        if not re.fullmatch(r"sha256:[0-9a-f]{64}", digest):
            _, body = self._ask("GET", f"manifests/{self._tag}")  # some registries do not say; the bytes do
            digest = f"sha256:{hashlib.sha256(body).hexdigest()}"
        if kind in INDEXES:
            index, digest = digest, platforms.get(digest) or self._of_platform(digest, platform)
        elif kind in MANIFESTS:
            index = ""
        else:
            raise RegistryTrouble(
                f"{self.host} answered with a manifest of type {kind or 'none'}, which no engine runs"
            )
        return Head(digest, index, "" if digest in known else self._labels(digest).get(URGENCY, ""))

    @functools.cached_property
    def _opener(self) -> urllib.request.OpenerDirector:
        """Made once per registry and pass: reading the certificates costs more than a request."""
        handlers: list[urllib.request.BaseHandler] = []
        if not self.insecure:
            context = ssl.create_default_context()
            for folder in CERTIFICATES:
                if (Path(folder, self.host) / "ca.crt").exists():
                    context.load_verify_locations(Path(folder, self.host) / "ca.crt")
            handlers.append(urllib.request.HTTPSHandler(context=context))
        if _loopback(self.host):
            handlers.append(urllib.request.ProxyHandler({}))  # a site's proxy does not know our loopback
        return urllib.request.build_opener(*handlers)

    def _of_platform(self, index: str, platform: tuple[str, str]) -> str:
        for entry in self._document(index).get("manifests", []):
            offered = entry.get("platform") or {}
            if (offered.get("os"), offered.get("architecture")) == platform:
                return str(entry["digest"])
        raise RegistryTrouble(f"{self._path}:{self._tag} has no image for {'/'.join(platform)}")

    def _labels(self, digest: str) -> dict[str, str]:
        config = self._document(digest).get("config", {}).get("digest", "")
        _, body = self._ask("GET", f"blobs/{config}")
        return dict(self._read(body).get("config", {}).get("Labels") or {})

    def _read(self, body: bytes) -> dict[str, Any]:
        try:
            return dict(json.loads(body))
        except (ValueError, TypeError):
            raise RegistryTrouble(f"{self.host} answered with something that is no JSON object") from None

    def _document(self, digest: str) -> dict[str, Any]:
        _, body = self._ask("GET", f"manifests/{digest}")
        if f"sha256:{hashlib.sha256(body).hexdigest()}" != digest:
            raise RegistryTrouble(f"{self.host} gave other bytes than {digest}")
        return self._read(body)

    def _ask(self, method: str, what: str) -> tuple[Message, bytes]:
        scheme = "http" if self.insecure else "https"
        url = f"{scheme}://{self.host}/v2/{self._path}/{what}"
        try:
            return self._send(method, url)
        except urllib.error.HTTPError as error:
            if error.code != 401 or self._authorization:
                raise RegistryTrouble(self._refusal(error)) from None
            self._authorization = self._authorize(error.headers.get_all("WWW-Authenticate") or [])
        try:
            return self._send(method, url)
        except urllib.error.HTTPError as error:
            raise RegistryTrouble(self._refusal(error)) from None

    def _send(self, method: str, url: str, authorization: str | None = None) -> tuple[Message, bytes]:
        """Raises HTTPError, RegistryTrouble."""
        headers = {"Accept": ACCEPT if "/manifests/" in url else "*/*", "User-Agent": "autopilot-watchdog"}
        request = urllib.request.Request(url, headers=headers, method=method)
        if said := self._authorization if authorization is None else authorization:
            request.add_unredirected_header("Authorization", said)  # blobs redirect to stores that must not see it
        self.requests += 1
        try:
            with self._opener.open(request, timeout=self._timeout) as response:
                return response.headers, response.read(LONGEST)
        except urllib.error.HTTPError:
            raise
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise RegistryTrouble(
                f"cannot reach {self.host}: {getattr(error, 'reason', None) or error or type(error).__name__}"
            ) from None

    def _authorize(self, challenges: list[str]) -> str:
        """The Authorization header that answers the registry's challenge."""
        basic = ""
        if self._credentials and not self._credentials.identity_token:
            pair = f"{self._credentials.user}:{self._credentials.password}".encode()
            basic = f"Basic {base64.b64encode(pair).decode()}"
        for challenge in challenges:
            scheme, _, rest = challenge.partition(" ")
            fields = dict(re.findall(r'(\w+)="([^"]*)"', rest))
            if scheme.lower() == "bearer" and "realm" in fields:
                return f"Bearer {self._token(fields, basic)}"
            if scheme.lower() == "basic" and basic:
                return basic
        raise RegistryTrouble(
            f"{self.host} asks for credentials (401) and there are none for it in docker's config.json"
        )

    def _token(self, fields: Mapping[str, str], basic: str) -> str:
        query = {"service": fields.get("service", ""), "scope": fields.get("scope", f"repository:{self._path}:pull")}
        if self._credentials and self._credentials.identity_token:
            query |= {
                "grant_type": "refresh_token",
                "refresh_token": self._credentials.password,
                "client_id": "autopilot-watchdog",
            }
            request = urllib.request.Request(fields["realm"], urllib.parse.urlencode(query).encode(), method="POST")
            try:
                with self._opener.open(request, timeout=self._timeout) as response:
                    return self._token_in(response.read(LONGEST))
            except OSError as error:
                raise RegistryTrouble(f"{self.host}'s token service refused: {error}") from None
        try:
            _, body = self._send("GET", f"{fields['realm']}?{urllib.parse.urlencode(query)}", basic)
        except urllib.error.HTTPError as error:
            raise RegistryTrouble(f"{self.host}'s token service refused the credentials: {error.code}") from None
        return self._token_in(body)

    def _token_in(self, body: bytes) -> str:
        answer = self._read(body)
        return str(answer.get("token") or answer.get("access_token"))

    def _refusal(self, error: urllib.error.HTTPError) -> str:
        remedy = {
            401: "the credentials are wrong",
            403: "the credentials may not read it",
            404: "there is no such image or tag",
            429: "too many requests",
        }.get(error.code, str(error.reason))
        return f"{self.host} refuses {self._path}:{self._tag}: {error.code}, {remedy}"


def _loopback(host: str) -> bool:
    name = host.rpartition(":")[0] or host
    try:
        return name == "localhost" or ipaddress.ip_address(name.strip("[]")).is_loopback
    except ValueError:
        return False
