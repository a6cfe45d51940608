"""The thin shell: looks, acts, remembers. What to do is decided in the core."""
