"""Typed errors of a prediction, nucleus by nucleus."""
