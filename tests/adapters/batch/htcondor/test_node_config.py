"""The rendered node configuration."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autopilot.adapters.batch.htcondor.node_config import (
    InvalidSettingError,
    NodeSettings,
    build_node_name,
    format_setting,
    get_domain,
    render,
)
from autopilot.adapters.batch.htcondor.payload_limit import PayloadCount

NODE = NodeSettings(condor_host="cm.pool", name="life-1", cpus=2, memory=300, domain="pool")


@given(st.text(), st.text())
def test_no_setting_can_bring_another_one(name: str, value: str) -> None:
    """Either it is refused, or it is exactly one line that ends where it should."""
    try:
        line = format_setting(name, value)
    except InvalidSettingError:
        return
    assert len(line.splitlines()) <= 1 or not any(char in line for char in "\n\r\v\f\x1c\x1d\x1e")
    assert not line.rstrip().endswith("\\")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("A", "1\nSTART = True"),
        ("A", "1\\"),
        ("A", "1\\  "),
        ("A", "@=end"),
        ("A B", "1"),
        ("", "1"),
        ("use ROLE: Submit #", "1"),
        ("A", "1\0"),
    ],
)
def test_what_could_be_more_than_one_setting_is_refused(name: str, value: str) -> None:
    """Line ends, continuations, multi-line openers, names that are no names."""
    with pytest.raises(InvalidSettingError):
        format_setting(name, value)


def test_the_admins_settings_win() -> None:
    """They come after ours; HTCondor takes the last."""
    lines = render(NODE, {"NUM_CPUS": "1"}).splitlines()
    assert lines.index("NUM_CPUS = 2") < lines.index("NUM_CPUS = 1")


def test_a_limit_of_payloads_is_added_to_the_admins_start() -> None:
    """START keeps the admin's condition, has one limit for the startd that runs and another for the next one."""
    node = replace(NODE, payload_limit=5, payload_count=PayloadCount(startd=11, earlier=1, present=2))
    text = render(node, {"START": "Owner == 1", "CLAIM_WORKLIFE": "3600"})
    assert text.index("START = Owner == 1") < text.index("START = ($(START)) && JobStarts <")
    assert "AUTOPILOT_PAYLOADS = ifThenElse($(PID) == 11, 4, 2)" in text
    assert text.index("CLAIM_WORKLIFE = 3600") < text.index("CLAIM_WORKLIFE = 0")
    assert "AUTOPILOT_PAYLOADS = 5\n" in render(replace(NODE, payload_limit=5), {})
    assert "JobStarts" not in render(NODE, {})


def test_a_full_node_takes_no_job_whatever_the_settings_say() -> None:
    """START = False is the last line."""
    full = NodeSettings(condor_host=None, name="n", cpus=1, memory=1, accept_jobs=False)
    text = render(full, {"START": "True"})
    assert text.splitlines()[-1] == "START = False"
    assert "CONDOR_HOST" not in text


@given(st.none() | st.text(), st.text(), st.none() | st.text())
def test_a_node_name_is_always_one_word(given_name: str | None, life: str, slot: str | None) -> None:
    """Whatever the environment holds, it is a name HTCondor takes."""
    name = build_node_name(given_name, life, slot)
    assert name
    assert all(char.isascii() and (char.isalnum() or char in "_.-") for char in name)


@pytest.mark.parametrize(
    ("host", "domain"),
    [("cm.pool", "pool"), ("cm.a.b", "a.b"), ("cm", "local"), ("10.0.0.1", "local"), (None, "local"), ("::1", "local")],
)
def test_a_host_without_a_domain_gets_the_managers(host: str | None, domain: str) -> None:
    """Names without a dot break several tools."""
    assert get_domain(host) == domain
