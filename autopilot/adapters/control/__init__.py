"""Serve the control socket."""
