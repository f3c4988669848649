"""Many runs side by side in one process: which they are, their turns, what is shown, the table at the end."""
