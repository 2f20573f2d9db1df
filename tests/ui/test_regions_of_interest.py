from __future__ import annotations

import numpy as np
import pytest
from napari.layers import Labels, Shapes

from napari_monusac.core.errors import MonusacError
from napari_monusac.ui.canvas import canvas
from napari_monusac.ui.canvas.regions import RECTANGLE, chosen_region, last_outline

ROI = (
    '<Annotation Id="77" Name="ROI" LineColor="0"><Attributes/><Regions><Region Id="1" Type="1"><Vertices>'
    '<Vertex X="4" Y="5"/><Vertex X="60" Y="50"/></Vertices></Region></Regions><Plots/></Annotation></Annotations>'
)


@pytest.fixture
def with_region(studio, qtbot, tmp_path):
    """A folder of two crops, the first with a region of interest around its nuclei, opened in the Studio."""
    from napari_monusac.synth.collection import write_collection

    root = write_collection(tmp_path / "data", 1, 2, seed=3, shape=(96, 128))
    path = sorted(root.rglob("*.xml"))[0]
    path.write_text(path.read_text().replace("</Annotations>", ROI))
    studio.panels["Slides"].open_folder(root)
    qtbot.waitUntil(lambda: studio.model.crop is not None, timeout=30_000)
    return studio


def test_a_region_is_seen_as_an_outline_and_goes_with_its_crop(with_region, viewer, qtbot, settle):
    layer = canvas.find_layer(viewer, "regions of interest")
    assert isinstance(layer, Shapes)
    assert len(layer.data) == 1
    assert layer.data[0].min(0).tolist() == [5, 4]
    assert layer.data[0].max(0).tolist() == [50, 60]
    nuclei, image = canvas.find_layer(viewer, "nuclei"), canvas.find_layer(viewer, "image")
    assert isinstance(nuclei, Labels)
    assert viewer.layers.selection.active is nuclei
    corner = (5.0, 4.0)
    assert np.allclose(layer.data_to_world(corner), image.data_to_world(corner))
    crop = with_region.model.crop
    annotation = with_region.model.collection.annotation(crop)
    assert nuclei.data.max() == len(annotation.nuclei) == len(annotation.regions) - 1 - len(annotation.ambiguous)
    # it is no rectangle that the user drew to predict or to count in
    assert last_outline(viewer) is None
    with pytest.raises(MonusacError, match="no rectangle is drawn"):
        chosen_region(viewer, image, RECTANGLE)
    with_region.go(1)
    qtbot.waitUntil(lambda: with_region.model.position()[0] == 2, timeout=30_000)
    settle()
    assert canvas.find_layer(viewer, "regions of interest") is None
