"""The search for NW-UCLA's recipe: many small trainings at once on one GPU, the test split left alone."""
