"""Soon."""


def train() -> None:
    """Soon."""
