"""Arrays in, arrays out: label maps, ternary maps, instances, edits."""
