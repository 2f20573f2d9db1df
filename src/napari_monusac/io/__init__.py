"""Files to values and back; the only room that swaps x and y."""
