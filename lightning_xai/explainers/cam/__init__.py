"""The class activation map family: feature maps of one layer, weighed."""
