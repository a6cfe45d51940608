"""Observe the host, carry out actions and keep the memory; the decisions are made in the core."""
