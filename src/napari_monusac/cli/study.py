"""Soon."""


def study() -> None:
    """Soon."""
