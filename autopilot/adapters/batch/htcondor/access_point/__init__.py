"""HTCondor's access point: a schedd whose container may end without losing a job of its queue."""
