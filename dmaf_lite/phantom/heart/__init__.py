"""The synthetic heart: hearts.py draws it from shape, infarct, sequences, acquisition; heart_realism.py judges it."""
