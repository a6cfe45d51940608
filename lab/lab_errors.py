"""Define the exception the lab raises when a real part is missing or misbehaves."""


class LabError(Exception):
    """Error whose message is one sentence for a person."""
