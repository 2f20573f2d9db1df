"""Scores, matching and typed errors."""
