"""The wiring: the only place that makes live objects."""
