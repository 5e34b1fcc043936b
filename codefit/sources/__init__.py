"""Where code comes from: git, archives, folders, GitHub's search. Nothing in a source is ever run."""
