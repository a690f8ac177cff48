"""What the names in a settings file mean: networks, objectives, which pairs fit, weights on disk."""
