"""Networks of the field, written from their papers."""
