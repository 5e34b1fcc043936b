"""The tasks: from a document to pairs, one file a task."""
