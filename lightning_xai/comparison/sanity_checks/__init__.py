"""Questions whose answer is known: labels that mean nothing, a shift that a model does not notice."""
