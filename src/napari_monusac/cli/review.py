"""Soon."""


def review() -> None:
    """Soon."""
