"""What happens to heatmap and answer when the image changes a little: noise, attacks, transforms, intensity."""
