"""Loading, adapting, merging and saving models."""
