"""Skeletons as PNG, GIF and HTML page."""
