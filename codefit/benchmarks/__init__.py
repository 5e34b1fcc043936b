"""Benchmarks: one module each, whose `load` returns the pairs a model is asked."""
