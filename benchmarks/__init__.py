"""Measure speed and size of the supervisor beside its peers: `make bench`. README.md explains the table."""
