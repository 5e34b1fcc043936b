"""Metrics, and the statistics of scores and their differences."""
