"""Image references: every form that Docker accepts is accepted, and nothing else."""

from __future__ import annotations

import pytest
from autopilot_watchdog.config.config_reader import ConfigError
from autopilot_watchdog.config.image_grammar import is_tagged_reference

from tests.watchdog.scenes import build_config


@pytest.mark.parametrize(
    "reference",
    [
        "x:v1",
        "site/x:v1",
        "docker.io/x:v1",
        "index.docker.io/library/x:v1",
        "r.example.org:5000/a/b_c.d--e__f:V1.2_3-x",
        "R.example.org/x:t",
        "r:5000/x:t",
        "localhost/x:t",
        "localhost:5000/x:t",
        "10.0.0.1:5000/x:t",
        "[fd00::1]:5000/x:t",
        f"r.example.org/x:{'t' * 128}",
    ],
)
def test_references_of_every_form(reference: str) -> None:
    """Hub names, hosts with a dot or a port, addresses and long tags are references."""
    assert is_tagged_reference(reference)
    assert build_config(group={"image": reference}).slots[0].image == reference


@pytest.mark.parametrize(
    "reference",
    [
        "x",
        "x:",
        ":t",
        f"x@sha256:{'a' * 64}",
        f"x:t@sha256:{'a' * 64}",
        "Site/x:t",
        "LOCALHOST/x:t",
        "r.example.org//x:t",
        "/x:t",
        "r.example.org/x/:t",
        "r.example.org/x_:t",
        "r.example.org/-x:t",
        "r.example.org/x..y:t",
        "r.example.org/x:ü",
        "r.example.org/x:.t",
        "https://r.example.org/x:t",
        "r.example.org/x y:t",
        "r.example.org/x:t\n",
        "r.example.org/x-{number}:t",
        f"{'a' * 260}:t",
        f"r.example.org/x:{'t' * 129}",
    ],
)
def test_no_references(reference: str) -> None:
    """A reference that an engine would refuse is a problem of the configuration."""
    with pytest.raises(ConfigError, match=r"slots\[0\].image: must be an image with a tag"):
        build_config(group={"image": reference})
