"""Everything that a person reads: words, tables, plots, the HTML report, the console."""
