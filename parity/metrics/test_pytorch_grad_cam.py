"""Our masked scores and our imputation against those of pytorch-grad-cam."""

import numpy as np
import pytest
import quantus
import torch
from pytorch_grad_cam.metrics.cam_mult_image import DropInConfidence, IncreaseInConfidence
from pytorch_grad_cam.metrics.perturbation_confidence import (
    PerturbationConfidenceMetric,
    RemoveLeastRelevantFirst,
    RemoveMostRelevantFirst,
)
from pytorch_grad_cam.metrics.road import NoisyLinearImputer

from lightning_xai.evidence.heat import normalized
from lightning_xai.functional import average_drop, average_increase, road
from parity._setting import close, heatmaps, images, network, target
from parity.metrics._quantus import RAW, scored

REMOVE = {"morf": RemoveMostRelevantFirst, "lerf": RemoveLeastRelevantFirst}


def probability(given):
    return network()(given).softmax(1)


def targets():
    return [lambda scores, label=label: scores[label] for label in target().tolist()]


def road_of_pytorch_grad_cam(order: str) -> torch.Tensor:
    """Return the mean score; its percentile is the share of pixels that *stay*."""
    scores = []
    for stay in (80, 60, 40, 20):
        metric = PerturbationConfidenceMetric(REMOVE[order](stay, NoisyLinearImputer(noise=0.0)))
        scores.append(metric(images(), heatmaps().numpy(), targets(), probability, return_diff=False))
    return torch.from_numpy(np.stack(scores)).mean(0)


@pytest.mark.parametrize("order", ["morf", "lerf"])
def test_road(order):
    """ROAD(order, noise=0) = ROAD most (least) relevant first at percentiles 80, 60, 40, 20 with noise 0: mean scores.

    Both solve for the weighted mean of the neighbours; its own noise is absolute, unseeded and 0.01.
    """
    close(road(network(), images(), heatmaps(), target(), order=order, noise=0.0), road_of_pytorch_grad_cam(order))


def test_road_combined():
    """ROAD(order="combined") = ROADCombined: half of least minus most."""
    theirs = (road_of_pytorch_grad_cam("lerf") - road_of_pytorch_grad_cam("morf")) / 2
    close(road(network(), images(), heatmaps(), target(), order="combined", noise=0.0), theirs)


def test_difference_pytorch_grad_cam_scores_are_not_relative():
    """Its drop is f(x) − f(x⊙m), ours over f(x) and in percent; its increase is ours."""
    maps = normalized(heatmaps())
    drop = DropInConfidence()(images(), maps.numpy(), targets(), probability)
    clean = probability(images()).detach().gather(1, target()[:, None])[:, 0]
    close(average_drop(network(), images(), heatmaps(), target()), 100 * torch.from_numpy(drop) / clean)
    increase = IncreaseInConfidence()(images(), maps.numpy(), targets(), probability)
    close(average_increase(network(), images(), heatmaps(), target()), 100 * torch.from_numpy(increase))


def test_no_oracle_road_of_quantus_takes_one_channel_only():
    """With three it indexes pixels of one image by places of three."""
    with pytest.raises(IndexError):
        scored(
            quantus.ROAD(percentages=[20, 40], **RAW),
            images(),
            target(),
            heatmaps=heatmaps(),
            model=network(),
            softmax=True,
        )
