"""The configuration: JSON text -> validated, frozen dataclasses. Touches no engine, no registry, no network."""
