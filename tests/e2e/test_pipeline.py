"""From a push to a payload: the pipeline of examples/ci with a real repository, registry, engine and batch system."""

from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from autopilot_watchdog.even_hash import hash_to_fraction

from lab.cache import create_run_folder
from lab.debian_trees import build_condor_tree
from lab.docker_engine import Engine
from lab.pipeline_tools import download_bindings
from lab.podman_engine import Podman, start_podman
from lab.registry_server import Registry, start_registry
from lab.wheelhouse import download_wheels
from tests.e2e.site_repository import EXAMPLES, SiteRepository, StepFailedError
from tests.watchdog.site import Site, eventually

pytestmark = [
    pytest.mark.real("htcondor", "podman", "registry", "openssl", "skopeo", "git"),
    pytest.mark.xdist_group("pipeline"),
]

USER, PASSWORD = "site", "a secret of the test"
BRANCH = "longer-lives"
HOSTS = {"canary-1": "127.0.0.11", "stable-1": "127.0.0.12", "stable-2": "127.0.0.13"}
STABLE_HOSTS = ("stable-1", "stable-2")
LOOPBACK_SETTINGS = {
    "_CONDOR_BIND_ALL_INTERFACES": "False",
    "_CONDOR_SHARED_PORT_PORT": "0",
    "_CONDOR_ENABLE_IPV6": "False",
}


class Farm:
    """A repository, a registry, and hosts with watchdogs on one engine, with a pool's manager beside them."""

    def __init__(self, folder: Path, podman: Podman, registry: Registry, repository: SiteRepository) -> None:
        self.folder, self.podman, self.registry, self.repository = folder, podman, registry, repository
        self.image = repository.variables["IMAGE"]
        self.hosts: dict[str, Site] = {}
        self._watches = ExitStack()

    def get_tag_digest(self, tag: str) -> str:
        """Return the digest of a tag in the registry; "" if there is no such tag."""
        options = self.repository.variables["SKOPEO_OPTIONS"].split()
        done = subprocess.run(
            ["skopeo", *options, "inspect", "--format", "{{.Digest}}", f"docker://{self.image}:{tag}"],
            env=self.podman.build_environment() | dict(self.repository.variables),
            capture_output=True,
            text=True,
            check=False,
        )
        return done.stdout.strip()

    def get_label(self, name: str) -> str:
        """Return a label of the image that was built last."""
        labels = self.podman.run("image", "inspect", "--format", "{{json .Labels}}", "localhost/worker-node:pipeline")
        return str(json.loads(labels).get(name, ""))

    def start_manager(self) -> None:
        """Start the manager of the site's pool, as ci/test-on-pool does."""
        hosts = "127.0.0.1 localhost\n127.0.0.1 manager.pool manager\n"
        hosts += "".join(f"{address} {name}.pool {name}\n" for name, address in HOSTS.items())
        (self.folder / "hosts").write_text(hosts)
        base = (self.repository.copy / "base-digest").read_text().strip()
        self.podman.run(
            *("run", "--detach", "--name", "site-manager", "--network", "none", "--hostname", "manager.pool"),
            *("--volume", f"{self.repository.copy}/ci/pool:/pool:ro", "--volume", f"{self.folder}/hosts:/etc/hosts:ro"),
            *(f"{self.image}@{base}", "sh", "/pool/start-manager"),
        )
        rights = [word for right in ("MASTER", "STARTD") for word in ("-authz", f"ADVERTISE_{right}")]
        token = eventually(
            lambda: self.podman.run(
                *("exec", "site-manager", "condor_token_create", "-identity", "worker@pool", *rights),
                *("-authz", "READ"),
                check=False,
            ),
            60,
            "the manager makes a token",
        )
        (self.folder / "tokens").mkdir(mode=0o700)
        (self.folder / "tokens" / "worker").write_text(token)
        (self.folder / "tokens" / "worker").chmod(0o600)

    def start_host(self, name: str) -> Site:
        """Start the watchdog of a host with one slot; all hosts have the same slot group, as the README shows it."""
        folder = self.folder / name
        folder.mkdir()
        host = Site(folder, "podman", self.podman, self.registry, Engine(None))
        key = self.repository.copy / "signing.pub"
        host.write_config(
            {
                "name": f"{name}-NN",
                "image": f"{self.image}:stable",
                "canary": {"image": ":canary", "hosts": ["canary-*"]},
                "network": "container:site-manager",
                "hostname": f"{name}.pool",
                "env": {
                    "CONDOR_HOST": "manager.pool",
                    "_CONDOR_NETWORK_INTERFACE": HOSTS[name],
                    **LOOPBACK_SETTINGS,
                },
                "volumes": [
                    f"{self.folder}/hosts:/etc/hosts:ro",
                    f"{self.folder}/tokens:/run/secrets/condor:ro",
                ],
                "verify": {
                    "exec": [
                        *("env", f"SIGNING_PUBLIC_KEY={key}", str(self.repository.copy / "ci" / "verify-image")),
                        "{image}",
                    ]
                },
            },
            host=name,
            registry={
                **host.document["registry"],
                "auth_file": self.repository.variables["REGISTRY_AUTH_FILE"],
                "timeout": "60s",  # a busy registry is not one that is away
                "patience": "60s",
            },
            rollout={**host.document["rollout"], "patience": "10m"},
            failures={"initial": "1s", "longest": "2s"},
        )
        self._watches.enter_context(host.run_watch())
        self.hosts[name] = host
        return host

    def get_slot(self, name: str) -> dict[str, Any]:
        """Return what `status` tells of the host's slot."""
        return self.hosts[name].get_slots()[f"{name}-01"]

    def get_digest(self, name: str) -> str:
        """Return the digest that runs in the host's slot; "" if none runs."""
        slot = self.get_slot(name)
        return str(slot["digest"]) if slot["container"] and slot["state"] == "running" else ""

    def prepare(self, digest: str, *names: str) -> None:
        """Let the hosts ask the registry, and wait until they have pulled and verified the digest."""
        for name in names:
            assert self.hosts[name].run_verb("retry").returncode == 0
        eventually(
            lambda: all(list_entries(self.hosts[name], "verify", digest) for name in names),
            60,
            f"{names} verify {digest}",
        )

    def wait_for_digest(self, name: str, digest: str, description: str) -> None:
        """Wait until the host's slot runs the digest and a life of it has proved good."""
        eventually(lambda: self.get_digest(name) == digest, 60, f"{name}: {description}")
        eventually(lambda: digest in self.list_good(name), 60, f"{name}: a life of {digest} proves good")

    def list_good(self, name: str) -> list[str]:
        """Return the digests that have proved good on the host."""
        host = self.hosts[name]
        text = host.run_verb("status", "-o", "json").stdout
        return [digest for image in json.loads(text)["images"] for digest in image["known_good"]]

    def renew(self, *names: str) -> None:
        """Ask the containers of these hosts to drain; they end by themselves, and the watchdogs fill the slots."""
        old = {name: self.get_slot(name)["container"] for name in names}
        for name in names:
            done = self.hosts[name].run_verb("drain", f"{name}-01")
            assert done.returncode == 0, done.stderr
        eventually(
            lambda: not any(self.get_slot(name)["container"] in (None, old[name]) for name in names),
            60,
            f"{names}: the slots have new containers",
        )

    def stop_hosts(self) -> None:
        """Stop the watchdogs; print what they did for the output of a failed test."""
        self._watches.close()
        for name, host in self.hosts.items():
            print(f"--- {name}")
            for entry in host.read_audit():
                print(entry["time"], entry["event"], entry["sentence"])


@pytest.fixture
def farm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Farm]:
    """Set up the repository, its keys and its base image by the commands of the example's README."""
    with ExitStack() as stack:
        registry = stack.enter_context(start_registry(USER, PASSWORD))
        podman = stack.enter_context(start_podman(registry.address))
        folder = stack.enter_context(create_run_folder())
        base_tree = folder / "base.tar"
        subprocess.run(
            ["tar", "--create", "--one-file-system", "--file", base_tree, "--directory", build_condor_tree(), "."],
            check=True,
        )
        login = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        (folder / "auth.json").write_text(json.dumps({"auths": {registry.address: {"auth": login}}}))
        variables = {
            "IMAGE": f"{registry.address}/site/worker-node",
            "REGISTRY_USER": USER,
            "REGISTRY_PASSWORD": PASSWORD,
            "REGISTRY_AUTH_FILE": str(folder / "auth.json"),
            "SIGNING_KEY_FILE": str(folder / "signing.key"),
            "SKOPEO_OPTIONS": f"--registries-conf {podman.folder}/registries.conf",
            "BASE_TREE": str(base_tree),
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": f"{download_wheels('3.13')} {download_bindings('3.13')}",
        }
        for name in ("REGISTRY_AUTH_FILE", "SKOPEO_OPTIONS"):  # of the hosts' hook, too
            monkeypatch.setenv(name, variables[name])
        engine = {key: value for key, value in podman.build_environment().items() if key.startswith("CONTAINERS_")}
        repository = SiteRepository(folder, {**engine, **variables})
        farm = Farm(folder, podman, registry, repository)
        try:
            yield farm
        finally:
            farm.stop_hosts()


def build_spec() -> str:
    """Return the worker's job spec, whose lives are known to be good soon: checked more often, and healthy for 2 s."""
    text = (EXAMPLES / "worker-node" / "autopilot.json5").read_text()
    text = text.replace("  lifetime: {", '  healthy_for: "2s",\n  lifetime: {', 1)
    quicker = text.replace('interval: "15s", timeout: "10s"', 'interval: "4s", timeout: "10s"')
    assert quicker != text
    return quicker


def list_setup_commands() -> list[str]:
    """Return the commands with which the example's README prepares the repository."""
    text = (EXAMPLES / "ci" / "README.md").read_text()
    part = text.split("## Prepare the repository once")[1].split("\n## ")[0]
    block = part.split("```\n")[1]
    return [line for line in block.splitlines() if line.startswith(("openssl", "ci/"))]


def release_first_version(farm: Farm) -> str:
    """Push v1: it becomes the image of all hosts. Return its digest."""
    repository = farm.repository
    repository.commit("The worker node")
    repository.run_pipeline("main")
    v1 = farm.get_tag_digest("stable")
    assert v1 and not farm.get_tag_digest("canary")
    assert farm.podman.run("ps", "--all", "--quiet") == "", "the throwaway pool is removed"
    sbom = json.loads((repository.runs[-1] / "out" / "sbom.json").read_text())
    assert {"condor", "condor-autopilot"} <= {component["name"] for component in sbom["components"]}
    farm.start_manager()
    for name in HOSTS:
        farm.start_host(name)
    for name in HOSTS:
        farm.wait_for_digest(name, v1, "v1 fills the slot")
    return v1


def try_on_canary(farm: Farm, v1: str) -> str:
    """Push v2 on a branch: the canary takes it, the others do not. Return its digest."""
    repository = farm.repository
    repository.run_git("switch", "--quiet", "--create", BRANCH)
    repository.edit_spec(lambda text: text.replace('default "24h"', 'default "36h"'))
    revision = repository.commit("Longer lives\n\nUrgency: 2030-01-01")
    repository.run_pipeline(BRANCH)
    v2 = farm.get_tag_digest("canary")
    assert v2 != v1 and farm.get_tag_digest("stable") == v1
    assert farm.get_label("org.opencontainers.image.revision") == revision
    assert farm.get_label("autopilot.urgency") == "2030-01-01"
    farm.prepare(v2, "canary-1")
    farm.renew("canary-1", "stable-1")
    farm.wait_for_digest("canary-1", v2, "v2 is tried")
    farm.wait_for_digest("stable-1", v1, "v1 is still the image of the others")
    assert farm.get_slot("canary-1")["channel"] == "canary" and farm.get_slot("stable-1")["channel"] == "stable"
    return v2


def roll_out(farm: Farm, v2: str) -> None:
    """Merge the branch: another runner builds the same digest without a cache, and the tested image moves on."""
    repository = farm.repository
    repository.run_git("switch", "--quiet", "main")
    repository.run_git("merge", "--quiet", "--no-ff", "--message", f"Merge {BRANCH}", BRANCH)
    repository.run_git("push", "--quiet")
    output = repository.run_pipeline("main", {"BUILD_OPTIONS": "--no-cache"})
    assert "was tested and signed before" in output
    assert farm.get_tag_digest("stable") == v2
    farm.prepare(v2, *STABLE_HOSTS)
    farm.renew(*STABLE_HOSTS)
    for name in STABLE_HOSTS:
        farm.wait_for_digest(name, v2, "v2 is rolled out")


def push_broken_version(farm: Farm, v2: str) -> None:
    """Push v3, which cannot start: the pipeline ends, and no tag moves."""
    repository = farm.repository
    repository.run_git("switch", "--quiet", "--create", "broken")
    repository.edit_spec(lambda text: text.replace('"condor_master", "-f"', '"condor_master", "-f", "-no-such-option"'))
    repository.commit("Break it")
    with pytest.raises(
        StepFailedError, match=r"the worker ended with exit code [1-9]\d* before the worker joins the pool"
    ):
        repository.run_pipeline("broken")
    assert (farm.get_tag_digest("canary"), farm.get_tag_digest("stable")) == (v2, v2)


def push_unsigned(farm: Farm) -> tuple[Path, str]:
    """Push v3 by hand: `stable` names it, and the host of the first ring refuses it, for good after some times.

    Returns:
        The folder of the pipeline that has v3, and the name of the host.
    """
    repository = farm.repository
    clone = repository.runs[-1]  # the pipeline has built v3 there
    repository.run_step(clone, "ci/push")
    v3 = (clone / "out" / "digest").read_text().strip()
    with pytest.raises(StepFailedError, match="the image is not signed"):
        repository.run_step(clone, "ci/move-tag stable")
    place = {name: hash_to_fraction(name, v3) for name in STABLE_HOSTS}
    first, later = sorted(place, key=place.__getitem__)
    share = f"{50 * (place[first] + place[later])}%"  # one host of the two is in the first ring
    for name in place:
        rings = [{"share": share, "after": "0s"}, {"share": "100%", "after": "10h"}]
        farm.hosts[name].write_config(rollout={**farm.hosts[name].document["rollout"], "rings": rings})
    source, target = "docker://$IMAGE@$(cat out/digest)", "docker://$IMAGE:stable"
    repository.run_step(clone, f"skopeo $SKOPEO_OPTIONS --insecure-policy copy --quiet {source} {target}")
    host = farm.hosts[first]
    for times in (1, 2, 3):  # the host would try again by itself, after half a minute each time
        assert host.run_verb("retry").returncode == 0
        eventually(partial(has_refused, host, v3, times), 60, "v3 is refused")
    assert "has no signature" in list_entries(host, "verify-failed", v3)[0]["sentence"]
    eventually(lambda: list_entries(host, "quarantine", v3), 60, "the host does not try it any more")
    assert not list_entries(host, "start", v3)
    return clone, first


def force_broken_version(farm: Farm, v2: str, clone: Path, first: str) -> None:
    """Sign v3 by hand, and release it on a host: the rings stop it, and the host of the first ring goes back to v2."""
    farm.repository.run_step(clone, "ci/sbom && ci/sign")  # `stable` names it already
    v3 = (clone / "out" / "digest").read_text().strip()
    later = next(name for name in STABLE_HOSTS if name != first)
    host = farm.hosts[first]
    assert host.run_verb("release", v3).returncode == 0
    eventually(lambda: list_entries(host, "verify", v3), 60, "the host accepts v3")
    farm.renew(first, later)
    eventually(lambda: count_failed_lives(host, v3) >= 3, 60, "v3 fails in the first ring")
    eventually(lambda: farm.get_digest(first) == v2, 60, "the first ring goes back to v2")
    eventually(lambda: len(list_entries(host, "quarantine", v3)) == 2, 60, "v3 is quarantined again, for its lives")
    eventually(lambda: farm.get_digest(later) == v2, 60, "the second ring runs v2")
    assert not list_entries(farm.hosts[later], "start", v3)


def test_from_push_to_payload(farm: Farm) -> None:
    """A push reaches the canaries, a merge all hosts; the pipeline, the hosts and the rings stop a broken push."""
    farm.repository.create(build_spec())
    for command in list_setup_commands():
        farm.repository.run_step(farm.repository.copy, command)
    v1 = release_first_version(farm)
    v2 = try_on_canary(farm, v1)
    roll_out(farm, v2)
    push_broken_version(farm, v2)
    clone, first = push_unsigned(farm)
    force_broken_version(farm, v2, clone, first)


def list_entries(host: Site, event: str, digest: str) -> list[dict[str, Any]]:
    """Return the entries of the host's audit log with this event about a digest."""
    return [entry for entry in host.read_audit(event) if entry["digest"] == digest]


def has_refused(host: Site, digest: str, times: int) -> bool:
    """Return True if the host's hook has refused the digest so often."""
    return len(list_entries(host, "verify-failed", digest)) >= times


def count_failed_lives(host: Site, digest: str) -> int:
    """Return the number of lives of a digest that failed on the host."""
    containers = {entry["started"] for entry in list_entries(host, "start", digest)}
    return sum(
        removal["container"] in containers and removal["verdict"] == "failed" for removal in host.read_audit("remove")
    )
