"""LayerData tuples for napari, without Qt."""
