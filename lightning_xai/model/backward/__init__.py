"""The way back to the image: plain gradients, and rules that take their place."""
