"""Soon."""


def masks() -> None:
    """Soon."""
