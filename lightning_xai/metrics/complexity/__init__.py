"""Complexity: is the heatmap concise?"""
