"""Agreement: does the heatmap say what another way of looking at the model says?"""
