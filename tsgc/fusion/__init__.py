"""Fusion of several streams: weights, calibration, comparison."""
