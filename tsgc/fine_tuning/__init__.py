"""Weights to start from (`--init`): what fits of a checkpoint of other data, or of another network."""
