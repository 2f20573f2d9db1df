"""Editing the nuclei of one crop, without Qt: session, history, journal, saving, audit."""
