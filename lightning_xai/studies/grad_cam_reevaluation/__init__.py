"""Grad-CAM examined again: localization, occlusion, attacks, fidelity and contrastivity (Nagy et al., 2021)."""
