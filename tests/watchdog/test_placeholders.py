"""Placeholders: one form everywhere, filled in for each slot; unknown ones are refused."""

from __future__ import annotations

import json

import pytest
from autopilot_watchdog.config.config_reader import ConfigError, parse_config
from autopilot_watchdog.config.placeholders import fill_placeholders
from autopilot_watchdog.config.slot_config import FILLED_KEYS, format_slot_name
from autopilot_watchdog.engine.container_request import build_container_request

from tests.watchdog.scenes import build_config

MAPPINGS = ("env", "extra_hosts", "tmpfs", "labels", "log_options")


@pytest.mark.parametrize(
    ("pattern", "name"),
    [
        ("wn-NN", "wn-01"),
        ("NN", "01"),
        ("NN.h.NN", "01.h.01"),
        ("SCANNER-NN", "SCANNER-01"),
        ("CANNON-{number}", "CANNON-01"),
        ("wnNN", "wnNN"),
        ("NNN-{host}", "NNN-h1"),
        ("wn{number}", "wn01"),
    ],
)
def test_number_in_names(pattern: str, name: str) -> None:
    """NN is the number when it stands alone, and part of a word otherwise; {number} is the number everywhere."""
    assert format_slot_name(pattern, "h1", 1) == name


@pytest.mark.parametrize("name", ["SCANNER", "wnNN", "NNN"])
def test_names_without_a_number(name: str) -> None:
    """Several slots without a number in their names are refused with the remedy."""
    with pytest.raises(ConfigError, match=r"NN counts only when it stands alone, else write \{number\}"):
        build_config(count=2, group={"name": name})


def build_group(key: str, text: str) -> dict[str, object]:
    """Build a group with a text at a key."""
    return {key: {"a": text} if key in MAPPINGS else [f"/{text}:/x" if key == "volumes" else text]}


@pytest.mark.parametrize("key", FILLED_KEYS)
def test_unknown_placeholders_are_refused(key: str) -> None:
    """A placeholder that nothing fills in is a problem of the configuration, in each key."""
    with pytest.raises(ConfigError, match=rf"slots\[0\].{key}: has an unknown placeholder {{nubmer}}"):
        build_config(group=build_group(key, "x{nubmer}"))
    build_config(group=build_group(key, "x{{nubmer}}${shell}{}{slot}"))


def test_unknown_placeholders_of_verify() -> None:
    """`verify` knows the image's placeholders only."""
    with pytest.raises(ConfigError, match=r"slots\[0\].verify.exec: has an unknown placeholder {slot}"):
        build_config(group={"verify": {"exec": ["cosign", "{image}", "{slot}"]}})


@pytest.mark.parametrize("key", [key for key in FILLED_KEYS if key != "drain"])
def test_every_key_is_filled_in(key: str) -> None:
    """The request for a slot's container has the slot's values in each key."""
    config = build_config(group=build_group(key, "{host}/{slot}/{number}/{{slot}}/${slot}"))
    body = build_container_request(
        config.slots[0], 2, host="h1", name="n", digest="sha256:a", owner="o", state_folder=None
    )
    assert "h1/wn-02/02/{slot}/${slot}" in json.dumps(body)


def test_values_are_not_filled_in_again() -> None:
    """A value that looks like a placeholder stays as it is."""
    assert fill_placeholders("{a}{b}", {"a": "{b}", "b": "{a}"}) == "{b}{a}"


def test_plain_configuration_is_as_before() -> None:
    """Braces of JSON and templates are no placeholders."""
    text = '{"x": {"y": 1}} {{.Name}} {} {X}'
    config = parse_config(json.dumps({"slots": [{"name": "wn-NN", "image": "r/i:t", "env": {"A": text}}]}))
    body = build_container_request(
        config.slots[0], 1, host="h1", name="n", digest="sha256:a", owner="o", state_folder=None
    )
    assert f"A={text}" in body["Env"]
