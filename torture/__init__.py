"""Breaks every stage on purpose: killed at every change of the file system, failed calls, two at once, damaged files."""
