"""Predicted nuclei as GeoJSON for QuPath, in the coordinates of the parent slide.

In QuPath, open the whole slide and choose File > Import objects from file.
"""

from dataclasses import replace
from pathlib import Path

from napari_monusac import open_collection
from napari_monusac.io.annotations.geojson import write_geojson
from napari_monusac.synth import write_collection

collection = open_collection(write_collection("tissue-for-qupath", n_patients=1, crops_per_patient=1, seed=7))
crop = collection.crops[0]
annotation = collection.annotation(crop)  # or `from_prediction("predictions/NAME.zarr").annotation` of jobs.exports
annotation = replace(annotation, regions=tuple(replace(r, confidence=0.9) for r in annotation.regions))
with collection.open(crop) as slide:
    origin = slide.origin_px or (0, 0)  # where the crop lies in its slide, from the .svs

path = Path(f"{crop.name}.geojson")
write_geojson(annotation, path, origin_px=origin, object_type="detection")
print(f"{len(annotation.nuclei)} nuclei at slide position {origin} -> {path}")
