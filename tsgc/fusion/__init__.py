"""Several streams to one answer."""
