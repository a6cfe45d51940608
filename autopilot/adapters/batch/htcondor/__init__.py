"""Run a node of HTCondor: configuration, checks, payloads, drain. See docs/htcondor.md."""
