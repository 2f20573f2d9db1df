"""Annotation files in and out: Aperio ImageScope XML, QuPath GeoJSON, COCO."""
