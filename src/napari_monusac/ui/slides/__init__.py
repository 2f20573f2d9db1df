"""The Slides panel."""
