"""The layer that an explainer reads: where it is, what is there, and the model from there on."""
