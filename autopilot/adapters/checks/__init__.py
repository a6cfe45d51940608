"""Run health checks, one module for each kind."""
