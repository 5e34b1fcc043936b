"""Sources of code: git, archives, folders, GitHub search. Code of a source is never run."""
