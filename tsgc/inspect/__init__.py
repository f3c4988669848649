"""A look at any file: clips, prepared data, shards, checkpoints, the network."""
