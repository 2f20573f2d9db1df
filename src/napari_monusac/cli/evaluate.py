"""Soon."""


def evaluate() -> None:
    """Soon."""
