"""Work over processes."""
