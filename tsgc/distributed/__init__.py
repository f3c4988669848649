"""Ranks: how they start, meet and stop."""
