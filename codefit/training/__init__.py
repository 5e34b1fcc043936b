"""From pairs to an adapter, or to a model from scratch."""
