"""Soon."""


def doctor() -> None:
    """Soon."""
