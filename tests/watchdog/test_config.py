"""The configuration: every problem is reported with its place, the found value and the remedy."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from autopilot_watchdog.config.config_reader import ConfigError, load_config, parse_config

SLOT = {"name": "wn-NN", "image": "registry.example.org/site/wn:stable", "count": 2}
EXAMPLE = Path(__file__).parents[2] / "examples/watchdog/autopilot-watchdog.json"


def get_error_text(document: object) -> str:
    """Return the message about a wrong configuration."""
    with pytest.raises(ConfigError) as raised:
        parse_config(json.dumps(document, indent=1), "wd.json")
    return str(raised.value)


def test_example_is_right() -> None:
    """The example loads."""
    assert load_config(EXAMPLE).slots[0].memory == 64 * 10**9


def test_every_problem_in_one_go() -> None:
    """Every problem has its line and column, its path, the found value and the expected one."""
    text = get_error_text({"slot": [], "slots": [{**SLOT, "cpus": -1, "volumes": ["/a"], "verify": {"exec": "x"}}]})
    assert text.splitlines() == [
        'wd.json:2:2: slot: unknown key; did you mean "slots"?',
        "wd.json:8:12: slots[0].cpus: must be a number of 0 or more, found -1",
        'wd.json:9:15: slots[0].volumes: must be a list of binds such as "/cvmfs:/cvmfs:ro,rslave", found ["/a"]',
        'wd.json:13:13: slots[0].verify.exec: must be a list of strings, found "x"',
    ]


@pytest.mark.parametrize(
    ("document", "sentence"),
    [
        ([], "must be an object, found []"),
        ({}, '"slots" is missing: groups of like slots'),
        ({"slots": []}, "slots: must be a list with at least one object, found []"),
        ({"slots": [{**SLOT, "image": "wn"}]}, "slots[0].image: must be an image with a tag"),
        ({"slots": [{**SLOT, "name": "wn"}]}, "slots[0].name: must contain NN, the number, when there are 2 slots"),
        ({"slots": [SLOT, SLOT]}, "slots[1].name: gives wn-01, which slots[0] gives, too"),
        ({"slots": [{**SLOT, "engine": "lxc"}]}, 'slots[0].engine: must be one of docker, podman, found "lxc"'),
        ({"slots": [{**SLOT, "ports": ["65535:1"]}]}, "gives wn-02 port 65536/tcp, which belongs to no host"),
        ({"slots": [SLOT], "rollout": {"rings": [{"share": "50%", "after": "0s"}]}}, "rollout.rings: must be rings"),
        ({"slots": [SLOT], "registry": {"timeout": "10"}}, 'registry.timeout: must be a duration such as "90s"'),
        (
            {"slots": [SLOT], "fitness": {"earliest": "2025-1-1"}},
            'fitness.earliest: must be a date such as "2025-01-01"',
        ),
        (
            {"slots": [SLOT], "fitness": {"earliest": "20250101"}},
            'fitness.earliest: must be a date such as "2025-01-01"',
        ),
        ({"slots": [SLOT], "fitness": {"earliest": 2025}}, "fitness.earliest: must be a string, found 2025"),
    ],
)
def test_refused(document: object, sentence: str) -> None:
    """A configuration that cannot work is refused."""
    assert sentence in get_error_text(document)


def test_syntax_and_doubles() -> None:
    """Broken JSON has its place; a key given twice is no silent choice."""
    with pytest.raises(ConfigError, match=r"wd:2:1: cannot read the configuration as JSON"):
        parse_config('{"slots":\n', "wd")
    with pytest.raises(ConfigError, match='the key "slots" is given twice'):
        parse_config('{"slots": [], "slots": []}')


def test_missing_file(tmp_path: Path) -> None:
    """A file that is not there is a plain sentence."""
    with pytest.raises(ConfigError, match="cannot read the configuration"):
        load_config(tmp_path / "none.json")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_byte_order_mark(tmp_path: Path, encoding: str) -> None:
    """A byte order mark before UTF-8 is no problem; another encoding is a plain sentence."""
    path = tmp_path / "wd.json"
    path.write_bytes(json.dumps({"slots": [SLOT]}).encode(encoding))
    if encoding == "utf-16":
        with pytest.raises(ConfigError, match="cannot read the configuration"):
            load_config(path)
    else:
        assert load_config(path).slots
