"""A host's watchdog: every slot filled with the newest good image, no container ever stopped to update it."""

__version__ = "0.1.0"
