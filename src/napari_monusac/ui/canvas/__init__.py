"""What lies on napari's canvas: layers by role, placing, colours, legend, marks."""
