"""A batch system of the tests: a spool directory."""
