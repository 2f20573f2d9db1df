"""The data doctor: examine a folder, report what is wrong, write mended copies."""
