"""Drawings of skeletons: PNG, GIF and HTML page."""
