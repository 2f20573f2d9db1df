"""The command line: thin commands over the library. Exit 0 done, 1 failed (one line), 2 wrong use, 130 stopped."""

from napari_monusac.cli.app import app, main

__all__ = ["app", "main"]
