"""A picture of truth and prediction side by side, for the demo and for a first look without napari."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_monusac.core.classes import CLASSES, PALETTES, NucleusClass, Rgb
from napari_monusac.core.files import atomic_write_bytes
from napari_monusac.io.outputs import marked_png

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Picture = NDArray[np.uint8]
    Instances = NDArray[Any]

_ZOOM = 2
_STRIP_PX = 34
_INK = (30, 30, 30)


def overlay_picture(
    image: Picture,
    truth: Instances,
    truth_classes: Mapping[int, int],
    prediction: Instances,
    prediction_classes: Mapping[int, int],
) -> Picture:
    """Draw truth (left, solid) and prediction (right, dashed) as outlines in class colours, with a legend.

    Parameters
    ----------
    image : uint8 (y, x, 3)
        RGB.
    truth, prediction : integers (y, x)
        Instance maps.
    truth_classes, prediction_classes : mapping
        Class number by instance number.

    Returns
    -------
    uint8 (2 y + legend, 4 x + gap, 3)
        RGB, enlarged twice.
    """
    import cv2
    import numpy as np

    height, width = image.shape[:2]
    large = cv2.resize(image, (width * _ZOOM, height * _ZOOM), interpolation=cv2.INTER_CUBIC)
    left, right = large.copy(), large.copy()
    _draw(left, truth, truth_classes, dashed=False)
    _draw(right, prediction, prediction_classes, dashed=True)
    gap = np.full((left.shape[0], 6, 3), 255, np.uint8)
    body = np.hstack([left, gap, right])
    return np.asarray(np.vstack([_legend(body.shape[1], left.shape[1] + 6), body]), np.uint8)


def save_png(picture: Picture, path: Path) -> None:
    """Write RGB pixels as PNG, whole or not at all.

    Raises
    ------
    OSError
        The file cannot be written.
    """
    import cv2

    done, data = cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    if not done:
        raise OSError(f"{path}: the picture could not be encoded")
    atomic_write_bytes(path, marked_png(data.tobytes()))


def _draw(picture: Any, instances: Instances, classes: Mapping[int, int], *, dashed: bool) -> None:
    import cv2
    import numpy as np
    from scipy.ndimage import find_objects

    colours = PALETTES["imagescope"]
    outlines: list[tuple[Any, Rgb]] = []
    for label, box in enumerate(find_objects(np.asarray(instances, np.int32)), 1):
        if box is None:
            continue
        mask = np.pad((instances[box] == label).astype(np.uint8), 1)
        mask = np.kron(mask, np.ones((_ZOOM, _ZOOM), np.uint8))
        offset = (_ZOOM * (box[1].start - 1), _ZOOM * (box[0].start - 1))
        found, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE, offset=offset)
        colour = colours[NucleusClass(classes.get(label, int(NucleusClass.UNCLASSIFIED)))]
        outlines += [(contour, colour) for contour in found]
    # A pure colour drowns on pink and purple: a dark halo lifts it. All halos first, so that none covers a neighbour.
    for contour, _ in outlines:
        cv2.polylines(picture, [contour], isClosed=True, color=(20, 20, 20), thickness=4, lineType=cv2.LINE_AA)
    for contour, colour in outlines:
        if not dashed:
            cv2.polylines(picture, [contour], isClosed=True, color=colour, thickness=2, lineType=cv2.LINE_AA)
            continue
        for start in range(0, len(contour), 14):
            piece = contour[start : start + 9]
            cv2.polylines(picture, [piece], isClosed=False, color=colour, thickness=2, lineType=cv2.LINE_AA)


def _legend(width: int, right: int) -> Any:
    import cv2
    import numpy as np

    strip = np.full((_STRIP_PX, width, 3), 255, np.uint8)
    font = cv2.FONT_HERSHEY_SIMPLEX
    cv2.putText(strip, "Truth", (8, 23), font, 0.6, _INK, 1, cv2.LINE_AA)
    cv2.putText(strip, "Prediction (model output, research use)", (right + 8, 23), font, 0.6, _INK, 1, cv2.LINE_AA)
    x = 90
    for kind in CLASSES:
        if x + 130 > right:
            break
        cv2.rectangle(strip, (x, 10), (x + 14, 24), PALETTES["imagescope"][kind], -1)
        cv2.rectangle(strip, (x, 10), (x + 14, 24), _INK, 1)
        cv2.putText(strip, kind.label, (x + 20, 23), font, 0.5, _INK, 1, cv2.LINE_AA)
        x += 130
    return strip
