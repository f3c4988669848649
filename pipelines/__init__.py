"""Raw clips to one prepared HDF5 file: found, read, cleaned and described."""
