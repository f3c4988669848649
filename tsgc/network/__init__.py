"""TSGCNeXt, its path on CPUs, its precision and cost, and the published weights."""
