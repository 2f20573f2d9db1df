"""Scores of folders, the guard, and the HTML report."""
