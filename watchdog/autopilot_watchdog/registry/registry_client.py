"""Ask a registry for the digest that a tag has for this platform, with one HEAD request.

The rules are the OCI distribution specification's ("Pulling manifests"). The Accept header names every manifest type:
without it a registry answers with the digest of a schema-1 manifest, and that looks like an update for ever. The digest
for a platform in an index and the labels of an image are looked up once per new digest.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import http.client
import ipaddress
import os
import re
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Collection, Mapping
from email.message import Message
from pathlib import Path
from typing import Any

from autopilot_watchdog.bounded_http import HttpClient
from autopilot_watchdog.bounded_json import clip_text, get_object, get_text, parse_json
from autopilot_watchdog.core.observation import TagDigest
from autopilot_watchdog.errors import WatchdogError
from autopilot_watchdog.registry.auth_challenge import parse_challenges
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
MAX_BODY_BYTES = 4 << 20  # of a manifest or image configuration, as registries limit them
MAX_TOKEN_CHARS = 1 << 16
MAX_URGENCY_CHARS = 64
MAX_TYPE_CHARS = 200
NO_HEAD_STATUSES = (400, 404, 405, 501)  # of registries that know GET only
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
HTTP_TOKEN = re.compile(r"[!-~]+")  # text that a header can carry
# two labels that are no site's own domain, such as co.uk
PUBLIC_SECOND_LEVELS = frozenset({"ac", "co", "com", "edu", "go", "gov", "ne", "net", "or", "org"})


class RegistryError(WatchdogError):
    """The registry did not answer, or not with a usable answer; `status` is its HTTP status, 0 if it has none."""

    def __init__(self, message: str, status: int = 0) -> None:
        self.status = status
        super().__init__(message)


class RegistryClient:
    """Client of the registry of one image; its methods raise RegistryError."""

    def __init__(
        self,
        reference: str,
        credentials: Credentials | None,
        insecure: Collection[str],
        timeout: float,
        *,
        token_hosts: Collection[str] = (),
        end: float | None = None,
    ) -> None:
        """Create a client.

        Args:
            reference: The image's reference.
            credentials: The credentials for the registry; None for none.
            insecure: Registries to ask without TLS.
            timeout: Seconds for each request as a whole.
            token_hosts: Hosts of token services that may see credentials, beside the registry's own.
            end: Moment of the monotonic clock at which all requests are over; None for no such limit.
        """
        self.host, self._path = split_host_and_path(reference)
        self._tag = get_tag(reference)
        self._credentials = credentials
        self._timeout = timeout
        self._token_hosts = token_hosts
        self._end = end
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
        digest, kind = self._fetch_digest_and_type()
        if kind in INDEX_MEDIA_TYPES:
            index, digest = digest, platforms.get(digest) or self._find_platform_digest(digest, platform)
        elif kind in MANIFEST_MEDIA_TYPES:
            index = ""
        else:
            raise RegistryError(
                f"{self.host} answered with a manifest of type {clip_text(kind, 80) or 'none'}, which no engine runs"
            )
        labels = {} if digest in known_digests else self._fetch_labels(digest)
        return TagDigest(digest, index, get_text(labels, URGENCY_LABEL, MAX_URGENCY_CHARS))

    def has_digest(self, digest: str) -> bool:
        """Return True if the registry has a manifest with this digest.

        Raises:
            RegistryError: The registry does not tell.
        """
        try:
            self._request_head(f"manifests/{self._check_digest(digest, 'the digest')}")
        except RegistryError as error:
            if error.status != 404:
                raise
            return False
        return True

    def _fetch_digest_and_type(self) -> tuple[str, str]:
        """Return the digest and the media type of the tag's manifest, by GET where HEAD does not tell them."""
        headers, body = self._request_head(f"manifests/{self._tag}")
        digest, kind = headers.get("Docker-Content-Digest", ""), headers.get("Content-Type", "").partition(";")[0]
        if DIGEST.fullmatch(digest) and kind in INDEX_MEDIA_TYPES + MANIFEST_MEDIA_TYPES:
            return digest, kind
        if body is None:
            headers, body = self._request("GET", f"manifests/{self._tag}")
            kind = headers.get("Content-Type", "").partition(";")[0]
        digest = f"sha256:{hashlib.sha256(body).hexdigest()}"
        if kind not in INDEX_MEDIA_TYPES + MANIFEST_MEDIA_TYPES:  # a plain file server tells no such type
            kind = get_text(self._parse_object(body), "mediaType", MAX_TYPE_CHARS) or kind
        return digest, kind

    def _request_head(self, resource: str) -> tuple[Message, bytes | None]:
        """Send a HEAD request, or a GET to a registry without HEAD; the body is None after a HEAD."""
        try:
            headers, _ = self._request("HEAD", resource)
        except RegistryError as error:
            if error.status not in NO_HEAD_STATUSES:
                raise
            return self._request("GET", resource)
        return headers, None

    @functools.cached_property
    def _http(self) -> HttpClient:
        """Client of the requests, made once: reading the certificates costs more than a request."""
        context = None
        if not self.insecure:
            context = ssl.create_default_context()
            for folder in CA_FOLDERS:
                file = Path(folder, self.host) / "ca.crt"
                if os.path.exists(file):  # False also in a directory of another user
                    context.load_verify_locations(file)
        return HttpClient(context=context, use_proxies=not _is_loopback(self.host))  # a proxy cannot reach our loopback

    def _find_platform_digest(self, index: str, platform: tuple[str, str]) -> str:
        entries = self._fetch_manifest(index).get("manifests")
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise self._build_nonsense_error("the manifests of its index are no list of objects")
        for entry in entries:
            entry_platform = get_object(entry, "platform")
            if (get_text(entry_platform, "os"), get_text(entry_platform, "architecture")) == platform:
                return self._check_digest(get_text(entry, "digest"), "the index's digest for this platform")
        raise RegistryError(f"{self._path}:{self._tag} has no image for {'/'.join(platform)}")

    def _fetch_labels(self, digest: str) -> dict[str, str]:
        config = get_text(get_object(self._fetch_manifest(digest), "config"), "digest")
        _, body = self._request("GET", f"blobs/{self._check_digest(config, 'the digest of the configuration')}")
        settings = self._parse_object(body).get("config")
        labels = settings.get("Labels") if isinstance(settings, dict) else settings
        if labels is not None and not isinstance(labels, dict):
            raise self._build_nonsense_error("the labels of the image are no object")
        return labels or {}

    def _check_digest(self, digest: str, name: str) -> str:
        """Return a digest that has the form of one; it becomes part of a URL."""
        if not DIGEST.fullmatch(digest):
            raise self._build_nonsense_error(f"{name} is no sha256 digest")
        return digest

    def _parse_object(self, body: bytes) -> dict[str, Any]:
        try:
            document = parse_json(body)
        except ValueError as error:
            raise self._build_nonsense_error(f"no JSON, {clip_text(str(error), 120)}") from None
        if not isinstance(document, dict):
            raise self._build_nonsense_error("JSON that is no object")
        return document

    def _build_nonsense_error(self, finding: str) -> RegistryError:
        return RegistryError(f"{self.host} answers nonsense for {self._path}:{self._tag}: {finding}")

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
                raise RegistryError(self._describe_refusal(error), error.code) from None
            self._authorization = self._answer_challenge(error.headers.get_all("WWW-Authenticate") or [])
        try:
            return self._send(method, url)
        except urllib.error.HTTPError as error:
            raise RegistryError(self._describe_refusal(error), error.code) from None

    def _send(
        self, method: str, url: str, authorization: str | None = None, body: bytes | None = None
    ) -> tuple[Message, bytes]:
        """Send one request; HTTPError reaches the caller, any other failure becomes a RegistryError."""
        headers = {"Accept": ACCEPT_HEADER if "/manifests/" in url else "*/*", "User-Agent": "autopilot-watchdog"}
        self.request_count += 1
        limit_s = self._timeout if self._end is None else min(self._timeout, self._end - time.monotonic())
        try:
            if limit_s <= 0:
                raise TimeoutError("the time for all requests to registries in this pass is over")
            request = urllib.request.Request(url, body, headers, method=method)
            if value := self._authorization if authorization is None else authorization:
                request.add_unredirected_header("Authorization", value)  # blobs redirect to stores: not for their eyes
            return self._http.send(request, limit_s, MAX_BODY_BYTES)
        except urllib.error.HTTPError:
            raise
        except (OSError, http.client.HTTPException, ValueError) as error:
            reason = str(getattr(error, "reason", None) or error) or type(error).__name__
            raise RegistryError(f"cannot reach {self.host}: {clip_text(reason, 200)}") from None

    def _answer_challenge(self, challenges: list[str]) -> str:
        """Build the Authorization header that answers the registry's challenge."""
        basic = ""
        if self._credentials and not self._credentials.identity_token:
            pair = f"{self._credentials.user}:{self._credentials.password}".encode()
            basic = f"Basic {base64.b64encode(pair).decode()}"
        for challenge in parse_challenges(challenges):
            if challenge.scheme == "bearer" and "realm" in challenge.parameters:
                return f"Bearer {self._fetch_token(challenge.parameters, basic)}"
            if challenge.scheme == "basic" and basic:
                return basic
        raise RegistryError(f"{self.host} asks for credentials (401) and there are none for it in docker's config.json")

    def _fetch_token(self, fields: Mapping[str, str], basic: str) -> str:
        realm = self.check_realm(fields["realm"])
        query = {"service": fields.get("service", ""), "scope": fields.get("scope", f"repository:{self._path}:pull")}
        try:
            if self._credentials and self._credentials.identity_token:
                query |= {
                    "grant_type": "refresh_token",
                    "refresh_token": self._credentials.password,
                    "client_id": "autopilot-watchdog",
                }
                _, body = self._send("POST", realm, "", urllib.parse.urlencode(query).encode())
            else:
                separator = "&" if "?" in realm else "?"
                _, body = self._send("GET", f"{realm}{separator}{urllib.parse.urlencode(query)}", basic)
        except urllib.error.HTTPError as error:
            raise RegistryError(f"{self.host}'s token service refused the credentials: {error.code}") from None
        answer = self._parse_object(body)
        token = get_text(answer, "token", MAX_TOKEN_CHARS) or get_text(answer, "access_token", MAX_TOKEN_CHARS)
        if not HTTP_TOKEN.fullmatch(token):
            raise self._build_nonsense_error("the token service gives no token")
        return token

    def check_realm(self, realm: str) -> str:
        """Return the URL of the token service, if requests and credentials may go there.

        Raises:
            RegistryError: The URL is none of a token service, is less safe than the registry, or belongs to somebody
                else while there are credentials to send.
        """
        shown = clip_text(realm, 100)
        try:
            url = urllib.parse.urlsplit(realm)
            host, port = url.hostname or "", url.port
        except ValueError:
            host = ""
        if (
            not host
            or url.scheme not in ("http", "https")
            or url.username is not None
            or not HTTP_TOKEN.fullmatch(realm)
        ):
            raise self._build_nonsense_error(f'its token service "{shown}" is no address with http or https')
        if url.scheme == "http" and not self.insecure:
            raise RegistryError(
                f"cannot use the token service of {self.host}: {shown} is not https, as the registry is"
            )
        address = host if port is None else f"{host}:{port}"
        if (
            self._credentials
            and host not in self._token_hosts
            and address not in self._token_hosts
            and not _are_of_one_site(self.host, host)
        ):
            raise RegistryError(
                f"cannot send the credentials of {self.host} to {address}, which it names as its token service and "
                f'which is not of its domain; if that is right, add "{address}" to registry.token_hosts'
            )
        return urllib.parse.urlunsplit(url._replace(fragment=""))

    def _describe_refusal(self, error: urllib.error.HTTPError) -> str:
        remedy = {
            401: "the credentials are wrong",
            403: "the credentials may not read it",
            404: "there is no such image or tag",
            429: "too many requests",
        }.get(error.code, clip_text(str(error.reason), 100))
        return f"{self.host} refuses {self._path}:{self._tag}: {error.code}, {remedy}"


def _is_loopback(host: str) -> bool:
    name = host.rpartition(":")[0] or host
    try:
        return name == "localhost" or ipaddress.ip_address(name.strip("[]")).is_loopback
    except ValueError:
        return False


def _are_of_one_site(registry: str, host: str) -> bool:
    """Return True if a host is the registry's own, or is in the domain that the registry's host is in.

    So registry-1.docker.io may name auth.docker.io, and registry.gitlab.com gitlab.com.
    """
    name = (urllib.parse.urlsplit(f"//{registry}").hostname or "").rstrip(".")
    host = host.lower().rstrip(".")
    if host == name:
        return True
    domain = name.partition(".")[2]
    labels = domain.split(".")
    is_public = len(labels) < 2 or (len(labels) == 2 and len(labels[1]) == 2 and labels[0] in PUBLIC_SECOND_LEVELS)
    if is_public or name.replace(".", "").isdigit():
        return False
    return host == domain or host.endswith(f".{domain}")
