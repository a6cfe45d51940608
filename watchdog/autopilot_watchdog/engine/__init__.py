"""Talk to container engines: one port (engine.py), one file per engine, one registry (engine_registry.py)."""
