"""What lies under ./data and ./runs."""
