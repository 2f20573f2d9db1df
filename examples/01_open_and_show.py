"""Open a folder of crops and one of its crops; with --show, look at it in napari."""

import sys
import tempfile

from napari_monusac import label_maps, open_collection
from napari_monusac.synth import write_collection

folder = write_collection(tempfile.mkdtemp(), n_patients=2, crops_per_patient=2, seed=1)  # or your MoNuSAC folder
collection = open_collection(folder)
print(f"{len(collection.patients)} patients, {len(collection.crops)} crops")

crop = collection.crops[0]
annotation = collection.annotation(crop)
with collection.open(crop) as slide:
    height, width = slide.shape
    pixels = slide.read(0, 0, height, width)  # uint8 RGB; red and blue are put right where the file has them swapped
    print(f"{crop.name}: {height} x {width} px, {slide.um_per_px} um/px, mean colour {pixels.mean((0, 1)).round()}")

maps = label_maps(annotation, (height, width))
print({kind.label: number for kind, number in annotation.counts().items()}, f"{maps.overlap_px} px overlap")

if "--show" in sys.argv:
    import napari

    viewer = napari.Viewer()
    viewer.open(crop.image, plugin="napari-monusac")
    viewer.window.add_plugin_dock_widget("napari-monusac", "MoNuSAC Studio")
    napari.run()
