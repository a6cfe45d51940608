"""Start processes, find their descendants, read their output and their container's limits. No asyncio here."""
