"""Source code as text and as a tree: languages, lexer, syntax, structure."""
