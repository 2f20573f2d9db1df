"""The one predictor: source, scale, stain, frame, tiles; how validation and prediction see an image."""
