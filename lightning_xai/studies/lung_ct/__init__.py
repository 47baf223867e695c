"""Grad-CAM on five networks for lung CT (Seeing Isn't Always Believing, 2026)."""
