"""Grad-CAM vs HiResCAM: which of the two heatmaps do metrics prefer, and does accuracy say so too?"""
