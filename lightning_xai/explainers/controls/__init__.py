"""Heatmaps that explain nothing: what every score is read against."""
