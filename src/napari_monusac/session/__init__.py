"""The editing session: commands, undo, journal, saving, audit, progress; the review queue. No Qt.

`session.session.EditingSession.open` is the way in; views hold on to the arrays of its `maps` and `listen`.
"""
