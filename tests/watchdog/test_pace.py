"""A host whose registry hangs in the middle of a pull, on a real engine under `watch`."""

from __future__ import annotations

import pytest

from lab.faults import start_faulty_proxy
from lab.tiny_images import build_and_push, format_healthy_script
from tests.watchdog.site import Site, eventually
from tests.watchdog.test_engines import get_slot, is_refilled, is_slot_empty, kill_container

pytestmark = pytest.mark.real("docker", "registry")

ORDER_LIMIT_S = 9  # times BUSY_FACTOR it is still less than the time to the next pass without a wake-up


def test_host_during_a_hanging_pull(docker_site: Site) -> None:
    """While one image is pulled, another slot is refilled, verbs answer, and `resume` wakes `watch` at once."""
    site = docker_site
    site.write_config(failures={"initial": "1ms", "longest": "1ms"})
    site.push_image()
    site.run_once()
    reference = site.push_reference.replace(":stable", ":slow")
    build_and_push(site.builder, reference, format_healthy_script(), bulk=30_000_000)
    with start_faulty_proxy(site.registry.port) as proxy:
        image = reference.replace(site.registry.address, proxy.address)
        site.document["slots"].append({**site.document["slots"][0], "name": "slow-NN", "image": image})
        site.write_config()
        proxy.delay_s = 0.2
        with site.run_watch():
            eventually(lambda: " pulls " in get_slot(site, "slow-01")["sentence"], 20, "the pull has begun")
            proxy.delay_s = 1000
            first = get_slot(site)["container"]
            kill_container(site, first)
            eventually(lambda: is_refilled(site, first), ORDER_LIMIT_S, "refilled during the pull")
            assert site.run_verb("pause").returncode == 0
            kill_container(site, get_slot(site)["container"])
            eventually(lambda: is_slot_empty(site), 10, "the engine has seen it")
            eventually(lambda: get_slot(site)["state"] == "paused", 10, "the engine has ended it")
            assert site.run_verb("resume").returncode == 0
            eventually(lambda: get_slot(site)["container"], ORDER_LIMIT_S, "resume has woken watch")
            sentence = get_slot(site, "slow-01")["sentence"]
            assert "pulls sha256:" in sentence and " since " in sentence
