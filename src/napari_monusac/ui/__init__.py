"""The only room with Qt and napari."""
