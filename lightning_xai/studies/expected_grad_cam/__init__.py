"""Expected Grad-CAM against nine class activation maps (Buono et al., 2024)."""
