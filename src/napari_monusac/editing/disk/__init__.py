"""What a session keeps on disk: journal, saved file and sidecar, earlier versions, and bringing edits back."""
