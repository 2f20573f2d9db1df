"""Predict every crop of a folder: probabilities, nuclei with class and confidence, stored as OME-Zarr."""

import os
from pathlib import Path

from napari_monusac import instances_from_maps, open_collection, predict
from napari_monusac.io.predictions.store import write_prediction
from napari_monusac.network.checkpoint import load_checkpoint
from napari_monusac.synth import write_collection

model = load_checkpoint(os.environ.get("MONUSAC_EXAMPLE_RUN", "example-run"))  # a run folder (its best) or a file
collection = open_collection(write_collection("unseen-tissue", n_patients=2, crops_per_patient=1, seed=5))
out = Path("predictions")
out.mkdir(exist_ok=True)

for crop in collection.crops:
    with collection.open(crop) as slide:
        prediction = predict(slide, model)
    nuclei = instances_from_maps(
        prediction.semantic,
        prediction.ternary,
        boundary_width=prediction.boundary_width,
        um_per_px=prediction.um_per_px,
    )
    path = write_prediction(
        prediction, out / f"{crop.name}.zarr", instances=nuclei.instances, table=nuclei.table, image=str(crop.image)
    )
    print(f"{crop.name}: {len(nuclei)} nuclei", dict(nuclei.table["class"].value_counts()), "->", path)
