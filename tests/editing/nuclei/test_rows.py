"""What is known about a nucleus."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from napari_monusac.editing.nuclei.rows import NucleusRow


def test_rows_of_before_are_read():
    """Older journals and sidecars say man for a person; new ones are written with the new word."""
    row = NucleusRow.model_validate_json('{"id": 3, "provenance": "man", "class_provenance": "man"}')
    assert (row.provenance, row.class_provenance) == ("human", "human")
    assert '"man"' not in row.model_dump_json()
    with pytest.raises(ValidationError):
        NucleusRow(id=1, provenance="someone")
