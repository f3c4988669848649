"""One file a data set, and the table of all."""
