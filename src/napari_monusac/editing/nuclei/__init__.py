"""What is edited: rows, maps and outlines of the nuclei of one crop, and the part of the image that they lie in."""
