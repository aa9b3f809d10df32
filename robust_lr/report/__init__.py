"""Reports for people: sentences, tables, plots, the HTML report, the console."""
