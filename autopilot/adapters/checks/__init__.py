"""Run health checks, one module for each kind; `autopilot.spec.extensions` registers them."""
