"""What the window knows, without Qt and napari: the Studio's state as a model whose fields announce themselves."""
