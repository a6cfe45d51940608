"""The registry's client against a real registry."""

from __future__ import annotations

import hashlib
import json
import urllib.request

import pytest
from autopilot_watchdog.core.observation import TagDigest
from autopilot_watchdog.registry.image_reference import get_repository, get_tag, split_host_and_path
from autopilot_watchdog.registry.registry_client import (
    INDEX_MEDIA_TYPES,
    MANIFEST_MEDIA_TYPES,
    RegistryClient,
    RegistryError,
)

from lab.tiny_images import format_healthy_script
from tests.watchdog.hostile_servers import serve_answers
from tests.watchdog.site import Site
from tests.watchdog.test_engines import get_slot

MANIFEST = json.dumps({"schemaVersion": 2, "mediaType": MANIFEST_MEDIA_TYPES[0], "config": {}}).encode()
MANIFEST_DIGEST = f"sha256:{hashlib.sha256(MANIFEST).hexdigest()}"
TYPED = {"Content-Type": MANIFEST_MEDIA_TYPES[0]}


@pytest.mark.parametrize("head_status", [200, 400, 404, 405, 501])
@pytest.mark.parametrize("headers", [TYPED, {"Content-Type": "text/plain"}, {}])
def test_registry_without_digest_or_head(head_status: int, headers: dict[str, str]) -> None:
    """A registry that knows no HEAD, tells no digest or no type is asked by GET, and its answer is hashed."""
    with serve_answers({"manifests/v1": (200, headers, MANIFEST)}, head_status=head_status) as server:
        client = RegistryClient(f"{server.address}/site/worker:v1", None, (), 5)
        found = client.fetch_tag_digest(("linux", "amd64"), {}, [MANIFEST_DIGEST])
    assert found.digest == MANIFEST_DIGEST
    assert [method for method, *_ in server.requests] == ["HEAD", "GET"]


@pytest.mark.parametrize("head_status", [200, 405])
def test_digest_that_a_registry_has_or_not(head_status: int) -> None:
    """A registry is asked for a digest with HEAD or GET; another refusal than 404 is no answer."""
    with serve_answers({MANIFEST_DIGEST: (200, TYPED, MANIFEST)}, head_status=head_status) as server:
        client = RegistryClient(f"{server.address}/site/worker:v1", None, (), 5)
        assert client.has_digest(MANIFEST_DIGEST)
        assert not client.has_digest(f"sha256:{'0' * 64}")
        server.answers = {MANIFEST_DIGEST: (503, {}, b"")}
        with pytest.raises(RegistryError, match="503"):
            client.has_digest(MANIFEST_DIGEST)


def test_references() -> None:
    """Docker's rules of what is a host name; ports are no tags."""
    assert split_host_and_path("worker:v1") == ("registry-1.docker.io", "library/worker")
    assert split_host_and_path("site/worker:v1") == ("registry-1.docker.io", "site/worker")
    assert split_host_and_path("r.example.org:5000/a/b:v1") == ("r.example.org:5000", "a/b")
    assert get_repository("r.example.org:5000/a/b:v1") == "r.example.org:5000/a/b"
    assert get_tag("r.example.org:5000/a/b") == "latest"


@pytest.mark.real("docker", "registry")
def test_index(site: Site) -> None:
    """Of an index the platform's digest counts: looked up once, unchanged by other platforms' pushes."""
    mine, other = site.push_image(), site.push_image(format_healthy_script("# arm\nsleep 100000"))
    digest = put_index(site, {"amd64": mine, "arm64": other})
    found = fetch_head(site, {})
    assert (found.digest, found.index) == (mine, digest)
    site.run_once()
    assert get_slot(site)["digest"] == mine
    gets = site.registry.count_requests("GET", site.folder.name.lower())
    assert fetch_head(site, {digest: mine}).digest == mine
    assert site.registry.count_requests("GET", site.folder.name.lower()) == gets
    newer = site.push_image(format_healthy_script("# newer arm\nsleep 100000"))
    assert put_index(site, {"amd64": mine, "arm64": newer}) != digest
    assert fetch_head(site, {}).digest == mine


@pytest.mark.real("docker", "registry")
def test_platform_that_is_not_there(site: Site) -> None:
    """An index without this host's platform is a sentence."""
    put_index(site, {"arm64": site.push_image()})
    with pytest.raises(RegistryError, match="has no image for linux/amd64"):
        fetch_head(site, {})


def fetch_head(site: Site, platforms: dict[str, str]) -> TagDigest:
    """Ask the site's registry for the tag's digest."""
    return RegistryClient(site.reference, None, (), 5).fetch_tag_digest(
        ("linux", "amd64"), platforms, platforms.values()
    )


def put_index(site: Site, digests: dict[str, str]) -> str:
    """An index under the site's tag; returns its digest."""
    host, path = split_host_and_path(site.reference)
    entries = []
    for architecture, digest in digests.items():
        url = f"http://{host}/v2/{path}/manifests/{digest}"
        with urllib.request.urlopen(
            urllib.request.Request(url, headers={"Accept": MANIFEST_MEDIA_TYPES[1]})
        ) as response:
            size = len(response.read())
        platform = {"os": "linux", "architecture": architecture}
        entries.append({"mediaType": MANIFEST_MEDIA_TYPES[1], "digest": digest, "size": size, "platform": platform})
    body = json.dumps({"schemaVersion": 2, "mediaType": INDEX_MEDIA_TYPES[1], "manifests": entries}).encode()
    url = f"http://{host}/v2/{path}/manifests/{get_tag(site.reference)}"
    request = urllib.request.Request(url, body, {"Content-Type": INDEX_MEDIA_TYPES[1]}, method="PUT")
    with urllib.request.urlopen(request) as response:
        return str(response.headers["Docker-Content-Digest"])
