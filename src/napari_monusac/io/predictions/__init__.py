"""Stored predictions and label maps: OME-Zarr stores, label .tif, n-ary .mat."""
