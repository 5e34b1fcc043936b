"""What a person looks at: the terminal table, the HTML report, the plots."""
