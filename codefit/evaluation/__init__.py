"""Benchmarks: prompts, predictions, scores, comparison of models, and the report."""
