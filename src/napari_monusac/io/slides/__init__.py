"""Slides and crops as lazy pyramids of RGB pixels: backends, scale, channels, thumbnails."""
