"""The model's answer to the image itself, and heatmaps of other classes and of models that have forgotten."""
