"""Processes: start them, reap them, know what is left of them, read their lines. No asyncio here."""
