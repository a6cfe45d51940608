"""Serve the telemetry port: metrics for Prometheus, status for people and programs."""
