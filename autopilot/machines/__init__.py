"""Pure state machines: (state, cue, now) -> (state, effects). No asyncio, no I/O, no clock."""
