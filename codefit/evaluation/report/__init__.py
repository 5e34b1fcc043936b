"""What a person looks at: the terminal table, the HTML page, the plots."""
