"""Generating completions, and computing the likelihood of references."""
