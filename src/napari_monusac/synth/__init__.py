"""Synthetic H&E tissue with exact truth."""
