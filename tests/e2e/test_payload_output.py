"""The log of a worker node has the lines that payloads print and that HTCondor's daemons write."""

from __future__ import annotations

import pytest

from tests.e2e.node import Node

FILES = [
    {"path": "/var/lib/condor/execute/dir_*/_condor_std*"},
    {"path": "/var/log/condor/*Log", "first_line": "^[0-9]{2}/"},
]


@pytest.mark.real("root", "htcondor")
def test_output_of_payloads(pool):
    """The log has what payloads print, with the payload's id, and the lines of the daemons."""
    node = Node(pool, master={"logging": {"files": FILES}}).wait_until_joined()
    ending = "trap 'echo end; exit 0' TERM; echo begin; while :; do sleep 0.2; done"
    long_job = pool.submit(script=ending, output="long")
    pool.wait_until(lambda: node.find_events("^begin$"), 90, "the first line is in the log")
    pool.run_on_manager("condor_rm", long_job)
    pool.wait_until(lambda: node.find_events("^end$"), 90, "the last line is in the log")
    short_job = pool.submit(script="echo only-line; exec sleep 1000", output="short")  # until its line was read
    pool.wait_until(lambda: node.find_events("^only-line$"), 90, "the line is in the log")
    pool.run_on_manager("condor_rm", short_job)
    found = [line for line in node.read_log() if line.get("stream") == "file"]
    printed = {line["message"]: line for line in found if "_condor_stdout" in line["file"]}
    assert printed.keys() == {"begin", "end", "only-line"}
    assert f"#{long_job}#" in printed["end"]["payload"] and f"#{short_job}#" in printed["only-line"]["payload"]
    assert {line["job"] for line in found} == {"condor-master"}
    assert any(line["file"] == "/var/log/condor/StartLog" for line in found)
