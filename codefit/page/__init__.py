"""What all HTML pages share: one file without network, its style, tables, and syntax colours."""
