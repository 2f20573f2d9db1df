"""Torch room: network, losses, loop."""
