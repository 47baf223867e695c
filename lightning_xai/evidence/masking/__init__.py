"""Curves of the class score while more and more of an image is changed, in the order of its heatmap."""
