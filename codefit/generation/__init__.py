"""Prompts to completions, and how likely references are."""
