"""Values only: standard library, numpy, pydantic."""
