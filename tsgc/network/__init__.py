"""TSGCNeXt, its path on CPUs, its precision and cost, the published weights, and networks of the field."""
