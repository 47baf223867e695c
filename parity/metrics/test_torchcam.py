"""Our curves and masked scores against those of torchcam, which are given our heatmaps."""

from contextlib import nullcontext
from functools import partial

import pytest
import torch
from torchcam.metrics import ClassificationMetric, DeletionInsertionMetric

from lightning_xai import Classifier
from lightning_xai._baseline import gaussian_blur
from lightning_xai.evidence.heat import normalized
from lightning_xai.functional import average_drop, average_increase, deletion_auc, insertion_auc
from parity._setting import COUNT, close, heatmaps, images, network, target

SOFTMAX = partial(torch.softmax, dim=-1)
STEPS = 16  # of 9 pixels: torchcam rounds the size of a step up, ours the number of pixels at each point


class Given:
    """Stands in for an extractor of torchcam and returns maps that are there already."""

    def __init__(self, maps: torch.Tensor) -> None:
        self.model, self._maps = network(), maps

    def __call__(self, class_idx: object, scores: object) -> list[torch.Tensor]:
        return [self._maps]

    def fuse_cams(self, cams: list[torch.Tensor]) -> torch.Tensor:
        return cams[0]

    def _hooks_off(self) -> nullcontext[None]:
        return nullcontext()


def per_image(build, maps: torch.Tensor, name: str) -> torch.Tensor:
    """Return torchcam's value of each image; it keeps sums only, so each one is asked alone."""
    values = []
    for image, heat, label in zip(images(), maps, target().tolist(), strict=True):
        metric = build(Given(heat[None]))
        metric.update(image[None], [label])
        values.append(metric.summary()[name])
    return torch.tensor(values)


def rectified() -> torch.Tensor:
    """Return maps in which most pixels are 0, as in a Grad-CAM: the order among equals decides the number."""
    return (heatmaps() - 0.5).relu()


@pytest.mark.parametrize("maps", [heatmaps(), rectified()], ids=["no ties", "ties"])
def test_deletion(maps):
    """DeletionAUC(num_steps=16, ties="first") = DeletionInsertionMetric(steps=16): zeros, softmax, trapezoid in [0, 1].

    torchcam sorts stably, so that equal pixels are removed in the order of their index.
    """
    ours = deletion_auc(network(), images(), maps, target(), num_steps=STEPS, ties="first")
    close(ours, per_image(lambda cam: DeletionInsertionMetric(cam, SOFTMAX, steps=STEPS), maps, "deletion_auc"))


@pytest.mark.parametrize("maps", [heatmaps(), rectified()], ids=["no ties", "ties"])
def test_insertion(maps):
    """InsertionAUC(num_steps=16, ties="first") = DeletionInsertionMetric(steps=16, baseline=our blur)."""
    ours = insertion_auc(network(), images(), maps, target(), num_steps=STEPS, ties="first")
    build = partial(DeletionInsertionMetric, logits_fn=SOFTMAX, steps=STEPS, baseline=gaussian_blur)
    close(ours, per_image(build, maps, "insertion_auc"))


def test_difference_order_of_equal_pixels():
    """Our default orders equal pixels at random, per image: from top left to bottom right is an order with meaning."""
    first = deletion_auc(network(), images(), rectified(), target(), num_steps=STEPS, ties="first")
    default = deletion_auc(network(), images(), rectified(), target(), num_steps=STEPS)
    assert (first - default).abs().max() > 0.01
    without = deletion_auc(network(), images(), heatmaps(), target(), num_steps=STEPS)
    close(
        without, per_image(lambda cam: DeletionInsertionMetric(cam, SOFTMAX, steps=STEPS), heatmaps(), "deletion_auc")
    )


def test_difference_torchcam_scores_what_the_model_returns():
    """Without ``logits_fn`` its areas are of logits and leave [0, 1]; ours are of probabilities."""
    theirs = per_image(lambda cam: DeletionInsertionMetric(cam, steps=STEPS), heatmaps(), "deletion_auc")
    assert theirs.min() < 0
    assert deletion_auc(network(), images(), heatmaps(), target()).min() >= 0


def test_difference_points_of_a_curve():
    """Where the pixels do not divide by the steps, torchcam takes fewer points: 144 in 32 steps are 29 of 5 pixels."""
    metric, seen = DeletionInsertionMetric(Given(heatmaps()[:1]), SOFTMAX, steps=32), []
    metric.cam_extractor.model.register_forward_hook(lambda _, given, __: seen.append(len(given[0])))
    metric.update(images()[:1], [0])
    assert sum(seen) == 1 + 1 + 2 * 28  # unchanged, empty, and the points between of both curves
    classifier = Classifier(network())
    deletion_auc(classifier, images()[:1], heatmaps()[:1], 0, num_steps=32)
    insertion_auc(classifier, images()[:1], heatmaps()[:1], 0, num_steps=32, baseline=0.0)
    assert classifier.evaluations == 2 * (1 + 32)


@pytest.mark.parametrize(
    ("ours", "name"), [(average_drop, "avg_drop"), (average_increase, "conf_increase")], ids=["drop", "increase"]
)
def test_masked_scores(ours, name):
    """AverageDrop, AverageIncrease = ClassificationMetric of min-max normalised maps, in percent.

    Both multiply the image by the map and read the softmax. torchcam adds 1e-7 to the score it divides by.
    """
    theirs = per_image(partial(ClassificationMetric, logits_fn=SOFTMAX), normalized(heatmaps()), name)
    close(ours(network(), images(), heatmaps(), target()), 100 * theirs)
    assert len(theirs) == COUNT
