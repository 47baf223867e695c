"""Localization: does the heatmap point at the annotated object?"""
