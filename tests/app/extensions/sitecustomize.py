"""Register the extensions of this folder in every Python that has it in its PYTHONPATH."""

from autopilot.spec.extensions import BATCH_SYSTEMS, CHECK_KINDS

CHECK_KINDS["marker"] = "marker_check"
BATCH_SYSTEMS["spool"] = "spool.spool_extension"
