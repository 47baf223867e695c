"""What `preserved` notes before a model is explained and puts back afterwards, one kind of state per file."""
