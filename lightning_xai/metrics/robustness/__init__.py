"""Robustness: does the heatmap survive what the prediction survives?"""
