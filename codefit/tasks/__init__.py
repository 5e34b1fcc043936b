"""The tasks, which turn a document into pairs; one file per task."""
