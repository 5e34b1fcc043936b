"""The report: the terminal table, the HTML page, the plots."""
