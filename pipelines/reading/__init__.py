"""Raw bytes, in whatever file they lie, to numbers."""
