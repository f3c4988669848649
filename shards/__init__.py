"""Prepared clips to shards, and shards to batches: standard tar files with a manifest that says all."""
