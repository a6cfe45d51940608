"""Test the watchdog: its pure core in virtual time, the whole of it on real engines and registries."""
