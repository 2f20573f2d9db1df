"""Score a prediction against the truth and list the errors by type.

The prediction here is the truth with known mistakes, so that there is something to find; with real ones, use
`evaluate_folders(truth, predictions)` and take the pairs from `folder_pairs(truth, predictions)`.
"""

import numpy as np

from napari_monusac import evaluate, find_errors, panoptic_quality
from napari_monusac.scoring.matching.pairs import CropPair
from napari_monusac.synth import synthesize

tissue = synthesize((512, 512), seed=6)
truth = tissue.instances
classes = {number: int(kind) for number, kind in enumerate(tissue.classes, 1)}

predicted, predicted_classes = truth.copy(), dict(classes)
predicted[np.isin(predicted, [3, 4, 5])] = 0  # three nuclei missed
predicted[400:420, 400:420] = truth.max() + 1  # one where there is none
predicted_classes[truth.max() + 1] = 2
predicted_classes[10] = 4  # one of the wrong class

print(f"PQ of all nuclei, classes left aside: {panoptic_quality(truth, predicted).pq:.3f}")
pair = CropPair("crop_1", "patient 1", truth, classes, predicted, predicted_classes, um_per_px=tissue.um_per_px)
result = evaluate(pair)
for scoring in result.scorings:
    print(f"{scoring.label:12} {scoring.pq:.3f}  {scoring.reason}")

errors = find_errors(truth, predicted, classes, predicted_classes, um_per_px=tissue.um_per_px)
print({str(kind): number for kind, number in errors.counts().items() if number})
for error in errors[:8]:
    print(f"  {error.type}: truth {error.truth_ids}, prediction {error.prediction_ids}")
