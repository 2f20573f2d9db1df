"""Predict many images on a Dask cluster. A dead worker is replaced, a bad image is told, finished ones are skipped.

pip install 'napari-monusac[cluster]'. Here the cluster is local; give `dask_executor` the address of yours.
"""

import os
from pathlib import Path

from distributed import Client, LocalCluster

from napari_monusac import open_collection
from napari_monusac.infer.batch import dask_executor, predict_many
from napari_monusac.synth import write_collection

if __name__ == "__main__":  # the workers of a local cluster start by importing this file
    run = Path(os.environ.get("MONUSAC_EXAMPLE_RUN", "example-run")).absolute()
    folder = Path(write_collection("tissue-for-dask", n_patients=3, crops_per_patient=1, seed=9, shape=(160, 192)))
    images = [crop.image.absolute() for crop in open_collection(folder).crops]
    # processes=False keeps this example quick; for real work use True and one thread a worker: torch takes the cores.
    local = LocalCluster(n_workers=2, threads_per_worker=1, processes=False, dashboard_address=None)
    with local as cluster, Client(cluster) as client:
        executor = dask_executor(client=client)
        for result in predict_many(images, run, Path("dask-predictions").absolute(), executor=executor, workers=2):
            print(Path(result.image).name, result.status, f"{result.seconds:.1f} s", result.message)
