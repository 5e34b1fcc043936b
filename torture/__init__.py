"""Breaks every stage on purpose: kills at every change of the file system, failed calls, two at once, bad files."""
