"""Read the configuration: JSON text becomes validated, frozen dataclasses, without engine, registry or network."""
