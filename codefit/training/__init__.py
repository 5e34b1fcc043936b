"""Training an adapter, all weights of a base, or a model from scratch."""
