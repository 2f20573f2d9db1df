"""Torch room: tiled prediction."""
