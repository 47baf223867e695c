"""Perturbation methods: the probability of the target while parts of the image are hidden."""
