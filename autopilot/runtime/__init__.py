"""The event loop's side: processes, commands with a time limit, and the runner of the core."""
