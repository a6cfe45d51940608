"""HTCondor: node configuration, probes, payloads, drain. See docs/htcondor.md."""

from autopilot.adapters.batch.htcondor.htcondor_system import HtcondorSystem

__all__ = ["HtcondorSystem"]
