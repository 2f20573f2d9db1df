"""Scores from matched nuclei and from pixels."""
