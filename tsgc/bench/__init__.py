"""Benchmarks of the network and its training: `tsgc bench`."""
