"""Decide on everything in pure state machines: (state, input, now) -> (state, effects), without I/O or a clock."""
