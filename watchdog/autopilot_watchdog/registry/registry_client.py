"""Ask a registry for the digest that a tag has for this platform, with one HEAD request.

The rules are the OCI distribution specification's ("Pulling manifests"). The Accept header names every manifest type:
without it a registry answers with the digest of a schema-1 manifest, which looks like an update for ever. The digest
for a platform in an index and the labels of an image are looked up once per new digest.
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

from autopilot_watchdog.core.observation import TagDigest
from autopilot_watchdog.errors import WatchdogError
from autopilot_watchdog.registry.credentials import Credentials
from autopilot_watchdog.registry.image_reference import get_tag, split_host_and_path

INDEX_MEDIA_TYPES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
MANIFEST_MEDIA_TYPES = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
ACCEPT_HEADER = ", ".join(INDEX_MEDIA_TYPES + MANIFEST_MEDIA_TYPES)
CA_FOLDERS = ("/etc/docker/certs.d", "/etc/containers/certs.d")  # a site's own CA: HOST/ca.crt
URGENCY_LABEL = "autopilot.urgency"  # image label
MAX_BODY_BYTES = 4 << 20  # of a manifest or image configuration


class RegistryError(WatchdogError):
    """The registry did not answer, or not with a usable answer."""


class RegistryClient:
    """Client of the registry of one image; its methods raise RegistryError."""

    def __init__(
        self, reference: str, credentials: Credentials | None, insecure: Collection[str], timeout: float
    ) -> None:
        self.host, self._path = split_host_and_path(reference)
        self._tag = get_tag(reference)
        self._credentials = credentials
        self._timeout = timeout
        self.insecure = self.host in insecure or _is_loopback(self.host)
        self._authorization = ""
        self.request_count = 0

    def fetch_tag_digest(
        self, platform: tuple[str, str], platforms: Mapping[str, str], known_digests: Collection[str]
    ) -> TagDigest:
        """Ask for the tag's digest.

        Args:
            platform: Operating system and architecture, such as ("linux", "amd64").
            platforms: The digest for this platform by the index's digest, as far as known.
            known_digests: Digests with known labels.

        Raises:
            RegistryError: The registry did not answer, or has no image for this platform.
        """
        headers, _ = self._request("HEAD", f"manifests/{self._tag}")
        digest, kind = headers.get("Docker-Content-Digest", ""), headers.get("Content-Type", "").partition(";")[0]
        if not re.fullmatch(r"sha256:[0-9a-f]{64}", digest):
            _, body = self._request("GET", f"manifests/{self._tag}")  # some registries leave the header out
            digest = f"sha256:{hashlib.sha256(body).hexdigest()}"
        if kind in INDEX_MEDIA_TYPES:
            index, digest = digest, platforms.get(digest) or self._find_platform_digest(digest, platform)
        elif kind in MANIFEST_MEDIA_TYPES:
            index = ""
        else:
            raise RegistryError(f"{self.host} answered with a manifest of type {kind or 'none'}, which no engine runs")
        return TagDigest(
            digest, index, "" if digest in known_digests else self._fetch_labels(digest).get(URGENCY_LABEL, "")
        )

    @functools.cached_property
    def _opener(self) -> urllib.request.OpenerDirector:
        """Opener of the requests, made once per client: reading the certificates costs more than a request."""
        handlers: list[urllib.request.BaseHandler] = []
        if not self.insecure:
            context = ssl.create_default_context()
            for folder in CA_FOLDERS:
                if (Path(folder, self.host) / "ca.crt").exists():
                    context.load_verify_locations(Path(folder, self.host) / "ca.crt")
            handlers.append(urllib.request.HTTPSHandler(context=context))
        if _is_loopback(self.host):
            handlers.append(urllib.request.ProxyHandler({}))  # a proxy cannot reach our loopback
        return urllib.request.build_opener(*handlers)

    def _find_platform_digest(self, index: str, platform: tuple[str, str]) -> str:
        for entry in self._fetch_manifest(index).get("manifests", []):
            entry_platform = entry.get("platform") or {}
            if (entry_platform.get("os"), entry_platform.get("architecture")) == platform:
                return str(entry["digest"])
        raise RegistryError(f"{self._path}:{self._tag} has no image for {'/'.join(platform)}")

    def _fetch_labels(self, digest: str) -> dict[str, str]:
        config = self._fetch_manifest(digest).get("config", {}).get("digest", "")
        _, body = self._request("GET", f"blobs/{config}")
        return dict(self._parse_object(body).get("config", {}).get("Labels") or {})

    def _parse_object(self, body: bytes) -> dict[str, Any]:
        try:
            return dict(json.loads(body))
        except (ValueError, TypeError):
            raise RegistryError(f"{self.host} answered with a text that is no JSON object") from None

    def _fetch_manifest(self, digest: str) -> dict[str, Any]:
        _, body = self._request("GET", f"manifests/{digest}")
        if f"sha256:{hashlib.sha256(body).hexdigest()}" != digest:
            raise RegistryError(f"{self.host} gave other bytes than {digest}")
        return self._parse_object(body)

    def _request(self, method: str, resource: str) -> tuple[Message, bytes]:
        scheme = "http" if self.insecure else "https"
        url = f"{scheme}://{self.host}/v2/{self._path}/{resource}"
        try:
            return self._send(method, url)
        except urllib.error.HTTPError as error:
            if error.code != 401 or self._authorization:
                raise RegistryError(self._describe_refusal(error)) from None
            self._authorization = self._answer_challenge(error.headers.get_all("WWW-Authenticate") or [])
        try:
            return self._send(method, url)
        except urllib.error.HTTPError as error:
            raise RegistryError(self._describe_refusal(error)) from None

    def _send(self, method: str, url: str, authorization: str | None = None) -> tuple[Message, bytes]:
        """Send one request; HTTPError reaches the caller, any other failure becomes a RegistryError."""
        headers = {"Accept": ACCEPT_HEADER if "/manifests/" in url else "*/*", "User-Agent": "autopilot-watchdog"}
        request = urllib.request.Request(url, headers=headers, method=method)
        if value := self._authorization if authorization is None else authorization:
            request.add_unredirected_header("Authorization", value)  # blobs redirect to stores that must not see it
        self.request_count += 1
        try:
            with self._opener.open(request, timeout=self._timeout) as response:
                return response.headers, response.read(MAX_BODY_BYTES)
        except urllib.error.HTTPError:
            raise
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise RegistryError(
                f"cannot reach {self.host}: {getattr(error, 'reason', None) or error or type(error).__name__}"
            ) from None

    def _answer_challenge(self, challenges: list[str]) -> str:
        """Build the Authorization header that answers the registry's challenge."""
        basic = ""
        if self._credentials and not self._credentials.identity_token:
            pair = f"{self._credentials.user}:{self._credentials.password}".encode()
            basic = f"Basic {base64.b64encode(pair).decode()}"
        for challenge in challenges:
            scheme, _, rest = challenge.partition(" ")
            fields = dict(re.findall(r'(\w+)="([^"]*)"', rest))
            if scheme.lower() == "bearer" and "realm" in fields:
                return f"Bearer {self._fetch_token(fields, basic)}"
            if scheme.lower() == "basic" and basic:
                return basic
        raise RegistryError(f"{self.host} asks for credentials (401) and there are none for it in docker's config.json")

    def _fetch_token(self, fields: Mapping[str, str], basic: str) -> str:
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
                    return self._parse_token(response.read(MAX_BODY_BYTES))
            except OSError as error:
                raise RegistryError(f"{self.host}'s token service refused: {error}") from None
        try:
            _, body = self._send("GET", f"{fields['realm']}?{urllib.parse.urlencode(query)}", basic)
        except urllib.error.HTTPError as error:
            raise RegistryError(f"{self.host}'s token service refused the credentials: {error.code}") from None
        return self._parse_token(body)

    def _parse_token(self, body: bytes) -> str:
        answer = self._parse_object(body)
        return str(answer.get("token") or answer.get("access_token"))

    def _describe_refusal(self, error: urllib.error.HTTPError) -> str:
        remedy = {
            401: "the credentials are wrong",
            403: "the credentials may not read it",
            404: "there is no such image or tag",
            429: "too many requests",
        }.get(error.code, str(error.reason))
        return f"{self.host} refuses {self._path}:{self._tag}: {error.code}, {remedy}"


def _is_loopback(host: str) -> bool:
    name = host.rpartition(":")[0] or host
    try:
        return name == "localhost" or ipaddress.ip_address(name.strip("[]")).is_loopback
    except ValueError:
        return False
