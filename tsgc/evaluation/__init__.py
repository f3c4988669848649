"""Logits of a split, score files, and how sure an accuracy is."""
