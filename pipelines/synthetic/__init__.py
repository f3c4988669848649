"""Made bodies and raw files, for the demo and tests."""
