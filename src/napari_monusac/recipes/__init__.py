"""The nine historical runs and ours, as TOML."""
