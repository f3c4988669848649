"""Raw clips and live frames to classes."""
