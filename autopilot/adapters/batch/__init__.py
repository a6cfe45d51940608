"""Connect the supervisor to a batch system; `autopilot.spec.extensions` registers them, one package for each."""
