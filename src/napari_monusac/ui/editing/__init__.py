"""The editing session on the canvas: its controller and its layers."""
