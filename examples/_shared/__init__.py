"""What the examples have in common: a small network, a table of epochs, and the pictures of a run as files."""
