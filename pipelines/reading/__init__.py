"""Raw bytes to numbers."""
