"""The slots that a collector knows, asked for in a child process."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autopilot.adapters.batch.htcondor import pool_listing
from autopilot.adapters.batch.htcondor.collector_query import ATTRIBUTES, MAX_TEXT_CHARS
from autopilot.adapters.batch.htcondor.node_config import build_life_variables
from autopilot.adapters.batch.htcondor.pool_listing import (
    MAX_LINE_CHARS,
    BindingsMissingError,
    CollectorError,
    PoolSlot,
    list_pool_slots,
    parse_slots,
)

# In the place of the bindings, for answers that a real collector cannot be made to give.
BINDINGS = """
import os, time
class AdType: Startd = 1
class Collector:
    def __init__(self, pool): self.pool = pool
    def query(self, type, constraint, projection): {body}
param = {param}
"""
AD = {
    "AutopilotLife": "1f2e",
    "Name": "slot1_1@1f2e@wn.pool",
    "Machine": "wn.pool",
    "State": "Claimed",
    "Activity": "Busy",
}


@pytest.fixture
def bindings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Install bindings with this body of `query`."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delenv("CONDOR_HOST", raising=False)

    def write(body: str, param: object = None) -> None:
        (tmp_path / "htcondor2.py").write_text(BINDINGS.format(body=body, param=param or {}))

    return write


def test_slots_of_a_collector(bindings):
    """Each ad becomes a slot; values that are no texts, and long ones, are cut to what can be trusted."""
    odd = {**AD, "State": 5, "Activity": "x" * 10_000, "Name": None}
    bindings(f"return [{AD!r}, {odd!r}] if self.pool == 'cm:9618' else []")
    first, second = list_pool_slots("cm:9618")
    assert first == PoolSlot("1f2e", "slot1_1@1f2e@wn.pool", "wn.pool", "Claimed", "Busy")
    assert first.node == "1f2e@wn.pool"
    assert second == PoolSlot("1f2e", "", "wn.pool", "", "x" * MAX_TEXT_CHARS)


@pytest.mark.parametrize(
    "kind", ["UnicodeDecodeError('utf-8', b'', 0, 1, 'invalid')", "RuntimeError('of the library')"]
)
def test_attribute_that_cannot_be_read(bindings, kind):
    """A stranger's ad hides no other slot: an attribute that the bindings cannot read is empty."""
    bindings(f"""
        class Ad(dict):
            def get(self, name):
                if self[name] is None: raise {kind}
                return self[name]
        return [Ad({ ({**AD, "State": None})!r}), Ad({AD!r})]""")
    assert [slot.state for slot in list_pool_slots("cm")] == ["", "Claimed"]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("os.abort()", "ended with signal 6"),
        ("os._exit(3)", "ended with exit code 3"),
        ("raise RuntimeError('denied\\x1b[2J\\nby cm')", "denied\x1b[2J by cm"),
        ("raise RuntimeError", "RuntimeError"),
    ],
)
def test_bindings_that_fail(bindings, body, reason):
    """An error, a crash and an early end of the bindings are one sentence each."""
    bindings(body)
    with pytest.raises(CollectorError) as caught:
        list_pool_slots("cm")
    assert str(caught.value).endswith(reason) and "\n" not in str(caught.value)


def test_bindings_that_hang(bindings):
    """A child that gives no answer in time is killed, and the reason is told."""
    bindings("time.sleep(3600)")
    with pytest.raises(CollectorError, match=r"no answer within 0\.5 s"):
        list_pool_slots("cm", timeout=0.5)


def test_endless_answer(bindings, monkeypatch):
    """An answer that is too long is cut by the kernel and refused."""
    bindings(f"return iter(lambda: {AD!r}, None)")
    monkeypatch.setattr(pool_listing, "MAX_ANSWER_BYTES", 1 << 20)
    with pytest.raises(CollectorError, match="longer than 1 MiB"):
        list_pool_slots("cm")


@pytest.mark.parametrize(
    ("param", "host", "asked"),
    [({"COLLECTOR_HOST": "a"}, "b", "a"), ({}, "b", "b")],
    ids=["configuration", "CONDOR_HOST"],
)
def test_default_collector(bindings, monkeypatch, param, host, asked):
    """Without a name the collector of HTCondor's configuration is asked, else $CONDOR_HOST."""
    bindings("return [{'Name': self.pool}]", param)
    monkeypatch.setenv("CONDOR_HOST", host)
    assert [slot.name for slot in list_pool_slots()] == [asked]


def test_no_collector(bindings):
    """Without any collector the reason names both places to write it."""
    bindings("return []")
    with pytest.raises(CollectorError, match=r"neither COLLECTOR_HOST .* nor \$CONDOR_HOST"):
        list_pool_slots()


def test_missing_bindings(monkeypatch):
    """Without the bindings the command that installs them is named."""
    monkeypatch.setattr(pool_listing, "BINDINGS_MODULE", "no_such_bindings")
    with pytest.raises(BindingsMissingError, match="pip install htcondor"):
        list_pool_slots("cm")


def test_parent_loads_no_bindings():
    """The module that a verb imports loads no bindings."""
    code = "import sys, autopilot.cli.fleet, autopilot.adapters.batch.htcondor.pool_listing; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"htcondor2", "classad2", "htcondor"} & set(done.stdout.split())


@given(st.lists(st.binary(max_size=60) | st.from_type(dict).map(lambda found: json.dumps(found, default=str).encode())))
def test_garbage_is_refused(lines):
    """Lines that are no slots end in one error."""
    try:
        list(parse_slots(lines))
    except CollectorError:
        return
    assert lines == []


@given(st.fixed_dictionaries({name: st.text(max_size=MAX_TEXT_CHARS) for name in ATTRIBUTES}))
def test_longest_line_is_read_whole(ad):
    """A slot whose texts are as long as they may be fits on a line, whatever their characters are."""
    line = json.dumps(ad).encode()
    assert len(line) < MAX_LINE_CHARS
    (slot,) = parse_slots([line])
    assert [slot.life, slot.name, slot.machine, slot.state, slot.activity] == [ad[name] for name in ATTRIBUTES]
    widest = json.dumps(dict.fromkeys(ATTRIBUTES, "\N{MUSICAL SYMBOL G CLEF}" * MAX_TEXT_CHARS))
    assert len(widest) < MAX_LINE_CHARS


def test_life_is_advertised_beside_the_sites_attributes():
    """The attributes that the site wrote under the older name stay."""
    assert build_life_variables({}, "1f2e") == {
        "_CONDOR_AutopilotLife": '"1f2e"',
        "_CONDOR_STARTD_EXPRS": "AutopilotLife",
    }
    assert build_life_variables({"STARTD_EXPRS": "A B"}, "1f2e")["_CONDOR_STARTD_EXPRS"] == "A B AutopilotLife"
