"""HTCondor: node configuration, probes, payloads, drain. See docs/htcondor.md."""

from autopilot.adapters.htcondor.adapter import Htcondor

__all__ = ["Htcondor"]
