"""Consul: told what our jobs do, it keeps our services registered, watches those of others, and says what changed."""
