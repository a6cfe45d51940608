"""A fleet in virtual time, run by the same decide function as a real host."""
