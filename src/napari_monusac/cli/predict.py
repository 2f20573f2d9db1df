"""Soon."""


def predict() -> None:
    """Soon."""
