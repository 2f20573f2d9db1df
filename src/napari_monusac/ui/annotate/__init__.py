"""The Annotate panel."""
