"""Stop a run in the middle of an epoch and go on with it: the result is what an unbroken run gives."""

from napari_monusac import RunFolder, load_recipe, open_collection, train
from napari_monusac.core.events import BatchEnded, RunEnded
from napari_monusac.io.splits import make_split
from napari_monusac.synth import write_collection

data = write_collection("tissue-to-resume", n_patients=3, crops_per_patient=1, seed=4, shape=(160, 160))
recipe = load_recipe("quick").with_values(epochs=2, steps_per_epoch=3, patch_size=64, batch_size=2)
run = RunFolder.create("resumed-run", data=data, split=make_split(open_collection(data)), recipe=recipe)

for event in train(recipe, run):
    if isinstance(event, BatchEnded) and event.step == 2:
        run.request_stop()  # a file in the run folder: any process may ask, also `touch resumed-run/stop`
    if isinstance(event, RunEnded):
        print(f"{event.reason} after {event.step} steps; the folder says: {run.status}")

again = RunFolder.open("resumed-run")  # tomorrow, in another process
for event in train(again.recipe, again):
    if isinstance(event, RunEnded):
        print(f"{event.reason} after {event.step} steps; the folder says: {again.status}")
