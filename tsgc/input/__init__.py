"""Packed clips to the network's input: augmentations, crop, resize, mixing, views."""
