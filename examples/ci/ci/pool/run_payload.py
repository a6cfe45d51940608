"""Submit one job with HTCondor's Python bindings and wait for its end, at most the seconds of the argument."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

sys.path.insert(0, "/bindings")  # where ci/test-on-pool mounts them

import htcondor2

TROUBLES = {
    htcondor2.JobEventType.JOB_HELD: "was held",
    htcondor2.JobEventType.JOB_ABORTED: "was removed",
    htcondor2.JobEventType.JOB_EVICTED: "was evicted",
    htcondor2.JobEventType.SHADOW_EXCEPTION: "lost its node",
}


def run_payload(folder: Path, limit_s: int) -> str:
    """Run the job; return a sentence of its trouble, "" if it ended well and its output came back within the limit."""
    log, output = folder / "log", folder / "output"
    description = htcondor2.Submit(
        {
            "executable": "/bin/sh",
            "transfer_executable": "false",
            "should_transfer_files": "YES",
            "arguments": "\"-c 'echo payload $(word)'\"",
            "output": str(output),
            "request_cpus": "1",
            "request_memory": "32M",
            "request_disk": "1M",
            "log": str(log),
        }
    )
    description.setQArgs("word in (done)")
    job = htcondor2.Schedd().submit(description).cluster()
    for event in htcondor2.JobEventLog(str(log)).events(stop_after=limit_s):
        print(f"job {job}: {event.type.name}", flush=True)
        if event.type in TROUBLES:
            return f"job {job} {TROUBLES[event.type]}: {dict(event)}"
        if event.type is htcondor2.JobEventType.JOB_TERMINATED:
            ended_well = event.get("TerminatedNormally") and event.get("ReturnValue") == 0
            came_back = output.read_text() == "payload done\n"
            return "" if ended_well and came_back else f"job {job} ended badly: {dict(event)}, {output.read_text()!r}"
    return f"job {job} has not ended within {limit_s} s"


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        sys.exit(run_payload(Path(scratch), int(sys.argv[1])) or 0)
