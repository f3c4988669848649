"""Ideas of the search for v2 that a plan's trial may ask for; what is adopted becomes part of training."""
