"""Write instances, semantic and boundary masks of every labelled crop of a folder as .tif."""

from pathlib import Path

from napari_monusac import label_maps, open_collection, ternary_map
from napari_monusac.io.predictions.maskfiles import write_masks
from napari_monusac.synth import write_collection

collection = open_collection(write_collection("tissue-for-masks", n_patients=2, crops_per_patient=1, seed=2))
for crop in collection.labelled:
    with collection.open(crop) as slide:
        shape, um_per_px = slide.shape, slide.um_per_px
    maps = label_maps(collection.annotation(crop), shape)
    boundary = ternary_map(maps.instances, boundary_width=3)  # 0 background, 1 inside, 2 a boundary of 3 px
    layers = {"instances": maps.instances, "semantic": maps.semantic, "ternary": boundary}
    files = write_masks(Path("masks") / crop.patient, crop.name, layers, um_per_px)
    print(crop.name, maps.instances.max(), "nuclei ->", ", ".join(f.name for f in files.values()))
