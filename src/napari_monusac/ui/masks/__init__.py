"""The Masks panel."""
