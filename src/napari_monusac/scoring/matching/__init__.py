"""Which nucleus of the truth is which of the prediction."""
