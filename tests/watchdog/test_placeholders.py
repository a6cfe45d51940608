"""Placeholders: one form everywhere, filled in for each slot; unknown ones are refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from autopilot_watchdog.config.config_model import Config
from autopilot_watchdog.config.config_reader import ConfigError, parse_config
from autopilot_watchdog.config.placeholders import fill_placeholders
from autopilot_watchdog.config.slot_config import (
    FILLED_KEYS,
    FILLED_TEXT_KEYS,
    fill_group_for_host,
    format_slot_name,
)
from autopilot_watchdog.engine.container_request import build_container_request, build_preflight_request

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
        ("wn-{index}", "wn-0"),
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
    if key in FILLED_TEXT_KEYS:
        return {key: text}
    return {key: {"a": text} if key in MAPPINGS else [f"/{text}:/x" if key == "volumes" else text]}


ALL_FILLED_KEYS = (*FILLED_KEYS, *FILLED_TEXT_KEYS)


@pytest.mark.parametrize("key", ALL_FILLED_KEYS)
def test_unknown_placeholders_are_refused(key: str) -> None:
    """A placeholder that nothing fills in is a problem of the configuration, in each key."""
    with pytest.raises(ConfigError, match=rf"slots\[0\].{key}: has an unknown placeholder {{nubmer}}"):
        build_config(group=build_group(key, "x{nubmer}"))
    build_config(group=build_group(key, "x{{nubmer}}${shell}{}{slot}"))


@pytest.mark.parametrize("key", MAPPINGS)
def test_names_in_mappings(key: str) -> None:
    """The names of a mapping are filled in like its texts, and unknown placeholders are refused there, too."""
    with pytest.raises(ConfigError, match=rf"slots\[0\].{key}: has an unknown placeholder {{nubmer}}"):
        build_config(group={key: {"x{nubmer}": "1"}})
    assert "x-wn-02" in json.dumps(build_request(build_config(group={key: {"x-{slot}": "1"}})))


@pytest.mark.parametrize(
    ("document", "sentence"),
    [
        (
            {"group": {"verify": {"exec": ["cosign", "{image}", "{slot}"]}}},
            "slots[0].verify.exec: has an unknown placeholder {slot}; known here: {digest}, {image}",
        ),
        (
            {"group": {"preflight": {"exec": ["awk", "{print}", "{digest}"]}}},
            "slots[0].preflight.exec: has an unknown placeholder {print}; known here: {digest}, {image}, {host}; "
            "{{print}} is the text {print}",
        ),
        ({"notify": {"exec": ["tell", "{event}", "{slot}"]}}, "notify.exec: has an unknown placeholder {slot}"),
        ({"consul": {"node": "{host}-{name}"}}, "consul.node: has an unknown placeholder {name}"),
        ({"group": {"log_driver": "{host}"}}, "slots[0].log_driver: has the placeholder {host}, and in this key none"),
        ({"group": {"cap_add": ["{slot}"]}}, "slots[0].cap_add: has the placeholder {slot}, and in this key none"),
        ({"group": {"ulimits": {"{slot}": 1}}}, "slots[0].ulimits: has the placeholder {slot}, and in this key none"),
        ({"state": "/var/lib/{host}"}, "state: has the placeholder {host}, and in this key none is filled in"),
        ({"engines": {"docker": "/run/{host}"}}, "engines: has the placeholder {host}, and in this key none"),
        ({"fitness": {"mounts": ["/a/{host}"]}}, "fitness.mounts: has the placeholder {host}, and in this key none"),
        ({"metrics": {"textfile": "{host}.prom"}}, "metrics.textfile: has the placeholder {host}, and in this key"),
    ],
)
def test_placeholders_of_other_keys(document: dict[str, Any], sentence: str) -> None:
    """Other keys have placeholders of their own or none; each that nothing fills in is refused."""
    with pytest.raises(ConfigError) as found:
        build_config(**document)
    assert sentence in str(found.value)


def build_request(config: Config) -> dict[str, Any]:
    """Build the request for the second slot's container."""
    return build_container_request(
        config.slots[0], 2, host="h1", name="n", digest="sha256:a", owner="o", state_folder="/s"
    )


@pytest.mark.parametrize("key", [key for key in ALL_FILLED_KEYS if key != "drain"])
def test_every_key_is_filled_in(key: str) -> None:
    """The request for a slot's container has the slot's values in each key."""
    config = build_config(group=build_group(key, "{host}/{slot}/{number}/{index}/{{slot}}/${slot}"))
    assert "h1/wn-02/02/1/{slot}/${slot}" in json.dumps(build_request(config))


def test_preflight_has_no_slot() -> None:
    """A throwaway container gets the texts that are the same in every slot, filled in, and none of the others."""
    group = {
        "env": {"HOST": "{host}", "SLOT": "{slot}", "TEXT": "{{slot}}"},
        "volumes": ["/a:/a", "/b/{number}:/b"],
        "devices": ["/dev/null", "/dev/nvidia{index}"],
        "network": "net-{number}",
        "tmpfs": {"/t": "size=1m", "/t/{slot}": ""},
    }
    filled = fill_group_for_host(build_config(group=group).slots[0], "h1")
    body = build_preflight_request(filled, "sha256:a", "o", ("true",))
    assert body["Env"][:2] == ["HOST=h1", "TEXT={slot}"] and body["HostConfig"]["Binds"] == ["/a:/a"]
    assert [device["PathOnHost"] for device in body["HostConfig"]["Devices"]] == ["/dev/null"]
    assert body["HostConfig"]["Tmpfs"] == {"/t": "size=1m"} and "NetworkMode" not in body["HostConfig"]


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
