"""The model's answer when a part of the image is gone, or seen through its heatmap."""
