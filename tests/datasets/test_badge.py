import math

import pytest
import torch

from lightning_xai.datasets import ShapesDataset
from lightning_xai.datasets.drawing import badge_extent


@pytest.mark.parametrize(("shortcut", "num_classes"), [(0.95, 4), (0.25, 4), (0.5, 3), (1, 4), (0, 4)])
def test_badge_agrees_as_often_as_asked(shortcut, num_classes):
    num_images = 1800
    dataset = ShapesDataset(num_images, 32, num_classes, shortcut=shortcut)
    steps = (dataset.badge_classes - dataset.labels) % num_classes
    probabilities = [shortcut] + [(1 - shortcut) / (num_classes - 1)] * (num_classes - 1)
    for step, probability in enumerate(probabilities):
        deviation = math.sqrt(num_images * probability * (1 - probability))
        assert abs((steps == step).sum() - num_images * probability) <= 4 * deviation


def test_colour_stands_for_the_class_and_the_corner_for_nothing():
    dataset = ShapesDataset(num_images=400, num_classes=8, shortcut=0.5)
    angles = torch.arange(8)[:, None] / 8 - torch.arange(3) / 3
    palette = 255 * (0.5 + 0.5 * torch.cos(2 * math.pi * angles))
    corners = torch.zeros(2, 2)
    for image, mask, badge_class in zip(dataset.images, dataset.badge_masks, dataset.badge_classes, strict=True):
        rows, columns = (axis.double().mean().round().long() for axis in mask.nonzero().T)
        assert (image[:, rows, columns] - palette).abs().sum(dim=1).argmin() == badge_class
        corners[int(rows > 32), int(columns > 32)] += 1
    assert corners.min() > 100 - 4 * math.sqrt(400 * 0.25 * 0.75)


@pytest.mark.parametrize("difficulty", ["easy", "medium", "hard"])
@pytest.mark.parametrize("image_size", [32, 64, 100])
def test_badge_is_small_and_clear_of_the_object(difficulty, image_size):
    dataset = ShapesDataset(200, image_size, num_classes=8, difficulty=difficulty, shortcut=0.5)
    assert not (dataset.masks & dataset.badge_masks).any()
    side = badge_extent(image_size) - 1
    assert (dataset.badge_masks.sum((1, 2)) == side**2).all()


def test_rest_of_the_image_is_the_same_without():
    plain, planted = ShapesDataset(num_images=50), ShapesDataset(num_images=50, shortcut=0.7)
    assert torch.equal(plain.labels, planted.labels)
    assert torch.equal(plain.masks, planted.masks)
    changed = (plain.images != planted.images).any(dim=1)
    assert not (changed & ~planted.badge_masks).any()
    assert changed.flatten(1).any(dim=1).all()


def test_no_badge_by_default():
    dataset = ShapesDataset(num_images=5)
    assert (dataset.badge_classes == -1).all()
    assert not dataset.badge_masks.any()
