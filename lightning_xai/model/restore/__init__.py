"""What `preserved` notes of a model before it is explained, and puts back afterwards."""
