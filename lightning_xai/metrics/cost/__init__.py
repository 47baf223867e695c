"""Cost: what does the heatmap take, and is there anything for a gradient to see?"""
