"""The registry's client against a real registry."""

from __future__ import annotations

import json
import urllib.request

import pytest
from autopilot_watchdog.registry.client import INDEXES, MANIFESTS, Registry, RegistryTrouble
from autopilot_watchdog.registry.reference import host_and_path, repository, tag

from lab.tiny import good_life
from tests.watchdog.site import Site
from tests.watchdog.test_engines import container


def test_references() -> None:
    """Docker's rules of what is a host name; ports are no tags."""
    assert host_and_path("worker:v1") == ("registry-1.docker.io", "library/worker")
    assert host_and_path("site/worker:v1") == ("registry-1.docker.io", "site/worker")
    assert host_and_path("r.example.org:5000/a/b:v1") == ("r.example.org:5000", "a/b")
    assert repository("r.example.org:5000/a/b:v1") == "r.example.org:5000/a/b"
    assert tag("r.example.org:5000/a/b") == "latest"


@pytest.mark.real("docker", "registry")
def test_index(site: Site) -> None:
    """Of an index the platform's digest counts: looked up once, unchanged by other platforms' pushes."""
    mine, other = site.push(), site.push(good_life("# arm\nsleep 100000"))
    digest = put_index(site, {"amd64": mine, "arm64": other})
    found = asked(site, {})
    assert (found.digest, found.index) == (mine, digest)
    site.run()
    assert container(site)["digest"] == mine
    gets = site.registry.requests("GET", site.folder.name.lower())
    assert asked(site, {digest: mine}).digest == mine
    assert site.registry.requests("GET", site.folder.name.lower()) == gets
    newer = site.push(good_life("# newer arm\nsleep 100000"))
    assert put_index(site, {"amd64": mine, "arm64": newer}) != digest
    assert asked(site, {}).digest == mine


@pytest.mark.real("docker", "registry")
def test_platform_that_is_not_there(site: Site) -> None:
    """An index without this host's platform is a sentence."""
    put_index(site, {"arm64": site.push()})
    with pytest.raises(RegistryTrouble, match="has no image for linux/amd64"):
        asked(site, {})


def asked(site: Site, platforms: dict[str, str]):
    return Registry(site.reference, None, (), 5).head(("linux", "amd64"), platforms, platforms.values())


def put_index(site: Site, digests: dict[str, str]) -> str:
    """An index under the site's tag; returns its digest."""
    host, path = host_and_path(site.reference)
    entries = []
    for architecture, digest in digests.items():
        url = f"http://{host}/v2/{path}/manifests/{digest}"
        with urllib.request.urlopen(urllib.request.Request(url, headers={"Accept": MANIFESTS[1]})) as response:
            size = len(response.read())
        platform = {"os": "linux", "architecture": architecture}
        entries.append({"mediaType": MANIFESTS[1], "digest": digest, "size": size, "platform": platform})
    body = json.dumps({"schemaVersion": 2, "mediaType": INDEXES[1], "manifests": entries}).encode()
    url = f"http://{host}/v2/{path}/manifests/{tag(site.reference)}"
    request = urllib.request.Request(url, body, {"Content-Type": INDEXES[1]}, method="PUT")
    with urllib.request.urlopen(request) as response:
        return str(response.headers["Docker-Content-Digest"])
