"""Connect the supervisor to a batch system, one package for each."""
