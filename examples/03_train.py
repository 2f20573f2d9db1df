"""Train a small network on synthetic tissue and follow its events. Makes `example-run`, which other examples use.

Takes about two minutes on two CPU cores: python 03_train.py [--epochs N] [--steps N]
"""

import argparse

from napari_monusac import RunFolder, load_recipe, open_collection, train
from napari_monusac.core.events import CheckpointSaved, EpochEnded, RunEnded, RunStarted
from napari_monusac.io.splits import make_split
from napari_monusac.synth import write_collection

arguments = argparse.ArgumentParser(description=__doc__)
arguments.add_argument("--epochs", type=int, default=12)
arguments.add_argument("--steps", type=int, default=20, help="optimiser steps an epoch")
asked = arguments.parse_args()

data = write_collection("tissue", n_patients=5, crops_per_patient=2, seed=46, shape=(512, 512))
recipe = load_recipe("quick").with_values(epochs=asked.epochs, steps_per_epoch=asked.steps)
split = make_split(open_collection(data))  # whole patients: nobody stands on both sides
run = RunFolder.create("example-run", data=data, split=split, recipe=recipe)

for event in train(recipe, run):  # a generator: the loop itself prints nothing
    match event:
        case RunStarted():
            print(f"on {event.device} ({event.device_reason}), {event.training_crops} crops")
        case EpochEnded(scores=scores):
            print(f"epoch {event.epoch}: combo {scores.combo:.3f}, loss {event.train_loss:.3f}")
        case CheckpointSaved(which="best"):
            print(f"  best so far: {event.path}")
        case RunEnded():
            print(f"{event.reason}: {event.message}")
