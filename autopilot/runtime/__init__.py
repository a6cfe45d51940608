"""Run the core on an event loop: processes, commands with a time limit, and timers."""
