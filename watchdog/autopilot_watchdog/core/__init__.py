"""Decide, purely: observation and memory in, actions and reasons out. Nothing here opens a file or reads a clock."""
