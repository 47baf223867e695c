"""Schulz et al. 2020, written naively in float64: one image, one copy after the other, the loss as in the paper."""

import math

import torch
from torch import nn
from torch.nn import functional as F


def blurred(mask, sigma):
    """A two-dimensional Gaussian of 2 · round(2σ) + 1 places per side, over a mask with reflected borders."""
    radius = round(2 * sigma)
    if radius == 0:
        return mask
    axis = [math.exp(-((i / sigma) ** 2) / 2) for i in range(-radius, radius + 1)]
    kernel = torch.tensor([[a * b for b in axis] for a in axis], dtype=torch.float64)
    padded = nn.ReflectionPad2d(radius)(mask[:, None])
    return F.conv2d(padded, (kernel / kernel.sum())[None, None])[:, 0]


def information(features, passing, mean, std):
    """KL[P(Z|R) ‖ Q(Z)] of two normal distributions, in nats; eq. 5."""
    center, spread = passing * features + (1 - passing) * mean, (1 - passing) * std
    return torch.distributions.kl_divergence(
        torch.distributions.Normal(center, spread), torch.distributions.Normal(mean, std)
    )


def spread(features, min_std):
    """Mean, standard deviation of each unit, and whether more than a hundredth of the images activate it."""
    active = torch.stack([f != 0 for f in features]).sum(0) > 0.01 * len(features)
    stacked = torch.stack(list(features))
    return stacked.mean(0), stacked.std(0).clamp(min=min_std), active


def heatmap(features, references, surprise, noise, *, beta, learning_rate, initial_alpha, blur, min_std):
    """The map in bits of one image.

    Args:
        features: R, float64 (C, h, w).
        references: Those of the references.
        surprise: Returns −ln p of the target from features.
        noise: (steps, copies, C, h, w).
    """
    mean, std, active = spread(references, min_std)
    alpha = torch.full_like(features, initial_alpha).requires_grad_()
    adam = torch.optim.Adam([alpha], lr=learning_rate)
    for copies in noise:
        adam.zero_grad()
        passing = blurred(torch.sigmoid(alpha), blur)
        losses = []
        for epsilon in copies:
            z = passing * features + (1 - passing) * (mean + std * epsilon)
            losses.append(surprise(torch.where(active, z, 0.0)))
        nats = torch.where(active, information(features, passing, mean, std), 0.0)
        (torch.stack(losses).mean() + beta * nats.mean()).backward()
        adam.step()
    passing = blurred(torch.sigmoid(alpha.detach()), blur)
    nats = torch.where(active, information(features, passing, mean, std), 0.0)
    return nats.sum(0) / math.log(2)
