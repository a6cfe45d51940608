"""Simulate hosts and fleets in virtual time, with the same decide function as a real host."""
