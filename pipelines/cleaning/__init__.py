"""Actors, linking, denoising, centring, alignment."""
