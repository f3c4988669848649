"""Networks of one's own: the code that may run, and what makes any network one of ours."""
