"""What the lab raises when a real part does not do what it should."""


class LabError(Exception):
    """One sentence for a person."""
