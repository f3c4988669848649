"""Recognition: raw clips and live frames to classes."""
