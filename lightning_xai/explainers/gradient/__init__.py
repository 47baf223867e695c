"""Attribution to pixels by gradients, or by what takes their place on the way back."""
