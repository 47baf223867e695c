"""What is known and remembered of a run, and who watches it."""
