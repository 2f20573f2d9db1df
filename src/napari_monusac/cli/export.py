"""Soon."""


def export() -> None:
    """Soon."""
