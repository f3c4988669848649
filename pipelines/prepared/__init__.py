"""The prepared HDF5: written, read, verified, reported on."""
