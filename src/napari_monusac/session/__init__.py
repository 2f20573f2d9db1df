"""The editing session: commands, undo, journal, review queue. No Qt."""
