"""Randomization: does the heatmap depend on the trained model and on the class at all?"""
