"""The body plans that are known by name, by where they come from; `pipelines.skeleton` has the table."""
