"""Sections of the report's page, one a file: a report in, what stands below a heading out."""
