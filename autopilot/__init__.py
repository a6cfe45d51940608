"""A PID 1 that makes a batch worker's container manage itself."""

__version__ = "0.1.0"
