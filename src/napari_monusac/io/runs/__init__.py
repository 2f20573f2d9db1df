"""The run folder of a training: settings, history, lock, environment, time-lapse."""
