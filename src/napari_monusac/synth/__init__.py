"""Synthetic H&E tissue with exact truth."""

from napari_monusac.synth.collection import write_collection
from napari_monusac.synth.tissue import SyntheticTissue, synthesize

__all__ = ["SyntheticTissue", "synthesize", "write_collection"]
