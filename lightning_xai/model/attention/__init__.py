"""Attention weights of vision transformers, and class gradients by them."""
