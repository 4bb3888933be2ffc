"""Classification: one text, one label of a declared set."""
